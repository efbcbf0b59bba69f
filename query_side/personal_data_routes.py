"""HTTP <-> everything that is known of one person."""

from collections.abc import AsyncGenerator
from typing import Final

from litestar import HttpMethod, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from litestar.types import Scope

from events.envelope import CustomerId, WorkspaceId
from events.token import Tokens
from query_side.answers import CUSTOMERS, METHODS, READ
from query_side.freshness import Demand
from query_side.personal_data import Erased, Person, PersonalData
from query_side.requests import PathRequest, read_demand, workspace_of
from query_side.routes import ReadMeans
from runtime.tasks import in_whole_steps
from runtime.web.authentication import principal_of
from runtime.web.customer_problems import customer_erased, customer_not_found
from runtime.web.envelope import success_body
from runtime.web.headers import request_id
from runtime.web.ignored import warnings_meta
from runtime.web.paths import CustomerIdText, read_customer_id
from runtime.web.preferences import heed_handling
from runtime.web.problems import AnyRequest, ApiError
from runtime.web.query_string import ParameterReader, read_parameters

MESSAGE: Final = "Personal data retrieved successfully"
_HERE: Final = b'"here"'


@route(f"{CUSTOMERS}/{{customer_id:str}}/personal-data", http_method=METHODS, opt=READ)
async def get_personal_data(
    request: AnyRequest,
    customer_id: CustomerIdText,
    means: NamedDependency[ReadMeans],
) -> Stream:
    """Tell everything that is known of one person, as one file."""
    workspace_id, principal = workspace_of(request), principal_of(request.scope)
    asked = _read(request.scope, workspace_id, means.tokens)
    wanted = asked.read_path(lambda: CustomerId(read_customer_id(customer_id)))
    await means.reads.check(asked.demand)
    meta = warnings_meta(asked.warnings)
    found = await means.personal_data.find(workspace_id, wanted)
    if found is None:
        raise customer_not_found("id", meta)
    if isinstance(found, Erased):
        raise customer_erased(meta)
    asked.check()
    await means.accesses.record(principal, "export", wanted)
    pieces = _enveloped(
        means.personal_data, found, meta | {"request_id": request_id(request.scope)}
    )
    return Stream(
        # The server sends no body with an answer to HEAD, but it would read to its end.
        () if request.method == HttpMethod.HEAD else in_whole_steps(pieces),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="customer-{wanted}.json"'},
    )


ROUTES: tuple[HTTPRouteHandler, ...] = (get_personal_data,)


def _read(scope: Scope, workspace_id: WorkspaceId, tokens: Tokens) -> PathRequest:
    """What the call asks for beside the id; raises nothing that is wrong with it."""
    try:
        reader = ParameterReader(read_parameters(scope["query_string"]))
        demand = read_demand(scope, workspace_id, reader, tokens)
        warnings = reader.finish(strict=heed_handling(scope))
    except ApiError as refused:
        return PathRequest(demand=Demand(), warnings=[], errors=refused.errors)
    return PathRequest(demand=demand, warnings=warnings, errors=())


async def _enveloped(
    personal_data: PersonalData, person: Person, meta: dict[str, object]
) -> AsyncGenerator[bytes]:
    """The published envelope around the pieces."""
    body = success_body(_HERE, message=MESSAGE, meta=meta)
    before, _, after = body.partition(_HERE)
    yield before
    async for piece in personal_data.pieces(person):
        yield piece
    yield after
