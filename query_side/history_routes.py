"""HTTP <-> the history of one customer: a page of it, or all of it for a spreadsheet."""

from typing import Final

from litestar import HttpMethod, Response, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from events.envelope import CustomerId
from query_side.answers import CUSTOMERS, METHODS, READ
from query_side.history import History
from query_side.history_requests import HistoryRequest, read_history
from query_side.requests import workspace_of
from query_side.routes import ReadMeans
from runtime.api_keys import Principal
from runtime.tasks import in_whole_steps
from runtime.web.authentication import principal_of
from runtime.web.customer_problems import customer_not_found
from runtime.web.envelope import success
from runtime.web.ignored import warnings_meta
from runtime.web.paths import CustomerIdText, read_customer_id
from runtime.web.problems import AnyRequest, ApiError

CSV: Final = "text/csv"


@route(f"{CUSTOMERS}/{{customer_id:str}}/history", http_method=METHODS, opt=READ)
async def get_history(
    request: AnyRequest,
    customer_id: CustomerIdText,
    means: NamedDependency[ReadMeans],
) -> Response[bytes] | Stream:
    """Tell what happened to a customer, oldest first: who did it, when, why, what changed."""
    workspace_id, principal = workspace_of(request), principal_of(request.scope)
    asked = read_history(request.scope, workspace_id, means.tokens)
    wanted = asked.read_path(lambda: CustomerId(read_customer_id(customer_id)))
    await means.reads.check(asked.demand)
    if asked.errors and await means.history.exists(workspace_id, wanted):
        asked.check()
    if asked.is_csv:
        return await _answer_csv(request, principal, wanted, asked, means.history)
    shown = await means.history.read(principal, wanted, asked.after, asked.limit)
    if shown is None:
        raise _not_found(asked)
    last = shown.entries[-1].version if shown.entries else asked.after
    meta: dict[str, object] = {
        "total": shown.newest,
        "next_after": last if last < shown.newest else None,
    }
    return success(
        request.scope,
        shown.entries,
        message="History retrieved successfully",
        meta=meta | warnings_meta(asked.warnings),
    )


ROUTES: tuple[HTTPRouteHandler, ...] = (get_history,)


async def _answer_csv(
    request: AnyRequest,
    principal: Principal,
    customer_id: CustomerId,
    asked: HistoryRequest,
    history: History,
) -> Stream:
    pieces = await history.read_csv(principal, customer_id)
    if pieces is None:
        raise _not_found(asked)
    return Stream(
        # The server sends no body with an answer to HEAD, but it would read to its end.
        () if request.method == HttpMethod.HEAD else in_whole_steps(pieces),
        media_type=f"{CSV}; header=present",
        headers={"Content-Disposition": f'attachment; filename="history-{customer_id}.csv"'},
    )


def _not_found(asked: HistoryRequest) -> ApiError:
    return customer_not_found("id", warnings_meta(asked.warnings))
