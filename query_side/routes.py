"""HTTP <-> questions; the answers are finished JSON and pass through as they are."""

from litestar import HttpMethod, Response, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler

from events.envelope import CustomerId, WorkspaceId
from query_side.pages import page_meta, read_list_request
from query_side.reads import CustomerReads
from runtime.web.authentication import principal_of
from runtime.web.envelope import BASE_PATH, success
from runtime.web.paths import CustomerIdText, read_customer_id
from runtime.web.problems import AnyRequest, ApiError
from runtime.web.query_string import ParameterReader, read_parameters

_READ = {"scope": "customers:read"}
_METHODS = [HttpMethod.GET, HttpMethod.HEAD]


@route(f"{BASE_PATH}/customers", http_method=_METHODS, opt=_READ)
async def list_customers(
    request: AnyRequest, reads: NamedDependency[CustomerReads]
) -> Response[bytes]:
    """List customers, newest first, or the best matches of a search first."""
    workspace_id = WorkspaceId(principal_of(request.scope).workspace_id)
    asked = read_list_request(workspace_id, request.scope["query_string"])
    found, is_stale = await reads.list(workspace_id, asked.query, eventual=asked.eventual)
    return success(
        request.scope,
        b"[%b]" % found.documents,
        message="Customers retrieved successfully",
        meta=page_meta(asked, found) | _age(is_stale),
    )


@route(f"{BASE_PATH}/customers/{{customer_id:str}}", http_method=_METHODS, opt=_READ)
async def get_customer(
    request: AnyRequest, customer_id: CustomerIdText, reads: NamedDependency[CustomerReads]
) -> Response[bytes]:
    """Fetch a customer by UUID."""
    workspace_id = WorkspaceId(principal_of(request.scope).workspace_id)
    wanted = CustomerId(read_customer_id(customer_id))
    reader = ParameterReader(read_parameters(request.scope["query_string"]))
    eventual = reader.eventual()
    reader.finish()
    found, is_stale = await reads.get(workspace_id, wanted, eventual=eventual)
    if found.document is None:
        raise ApiError(404, "No customer has this id.", meta=_age(is_stale))
    return success(
        request.scope,
        found.document,
        message="Customer retrieved successfully",
        meta=_age(is_stale),
        headers={"ETag": f'"{found.version}"'},
    )


ROUTES: tuple[HTTPRouteHandler, ...] = (list_customers, get_customer)


def _age(is_stale: bool) -> dict[str, object]:
    return {"stale": True} if is_stale else {}
