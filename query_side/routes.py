"""HTTP <-> questions; the answers are finished JSON and pass through as they are."""

from typing import Annotated, TypeAlias
from uuid import UUID

from litestar import HttpMethod, Request, Response, route
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter

from events.envelope import CustomerId, WorkspaceId
from query_side.pages import ParameterReader, page_meta, read_list_request, read_parameters
from query_side.reads import CustomerReads
from runtime.field_error import FieldError
from runtime.web.authentication import principal_of
from runtime.web.envelope import BASE_PATH, success
from runtime.web.problems import ApiError

AnyRequest: TypeAlias = Request[object, object, State]
CustomerIdText: TypeAlias = Annotated[str, PathParameter(description="UUID of a customer.")]

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
    wanted = _read_customer_id(customer_id)
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


def _read_customer_id(text: str) -> CustomerId:
    """The id in a path; raises ApiError 400 when it is no UUID in its usual form."""
    try:
        customer_id = UUID(text)
    except ValueError:
        customer_id = None
    if customer_id is None or str(customer_id) != text.lower():
        words = "A customer's id is a UUID such as 01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21."
        error = FieldError(field="customer_id", error=words, code="invalid_id")
        raise ApiError(400, "The id of the customer is malformed.", errors=[error])
    return CustomerId(customer_id)


def _age(is_stale: bool) -> dict[str, object]:
    return {"stale": True} if is_stale else {}
