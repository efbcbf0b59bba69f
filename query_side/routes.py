"""HTTP <-> questions; the answers are finished JSON and pass through as they are."""

from typing import Final

from litestar import Response, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from events.customer import EXTERNAL_ID_MAX
from events.envelope import CustomerId
from events.token import Tokens
from query_side.access_log import AccessLog
from query_side.answers import CUSTOMERS, METHODS, READ, answer_customer, read_meta
from query_side.cursors import Cursor, Cursors
from query_side.history import History
from query_side.pages import check_page, list_meta, page_links, page_meta
from query_side.past import Past
from query_side.past_answers import answer_customer_then, answer_list_then
from query_side.personal_data import PersonalData
from query_side.reads import CustomerReads
from query_side.requests import OneRequest, PastListRequest, RequestReader, workspace_of
from query_side.results import FoundCustomer
from runtime.web.customer_problems import SoughtBy, customer_erased, customer_not_found
from runtime.web.envelope import success
from runtime.web.paths import EXTERNAL_PATHS, CustomerIdText, read_customer_id, read_external_id
from runtime.web.problems import AnyRequest

_TAGS: Final = f"{CUSTOMERS}/tags"


class ReadMeans(Struct, frozen=True, kw_only=True):
    """What the routes answer with.

    One dependency of theirs, not several: for those the framework starts a group of tasks.
    """

    reads: CustomerReads
    requests: RequestReader
    tokens: Tokens
    cursors: Cursors
    history: History
    past: Past
    personal_data: PersonalData
    accesses: AccessLog


@route(CUSTOMERS, http_method=METHODS, opt=READ)
async def list_customers(
    request: AnyRequest,
    means: NamedDependency[ReadMeans],
) -> Response[bytes]:
    """List customers, newest first, in another order, or the best matches of a search first."""
    workspace_id = workspace_of(request)
    asked = means.requests.read_list(request.scope, workspace_id)
    if isinstance(asked, PastListRequest):
        await means.reads.check(asked.demand)
        return await answer_list_then(request, asked, means.past, means.cursors)
    found, is_stale = await means.reads.list_customers(workspace_id, asked.query, asked.demand)
    check_page(asked, found)
    place = found.next_place
    next_cursor = (
        None
        if place is None
        else means.cursors.write(workspace_id, Cursor(asked.query.fingerprint(), place))
    )
    return success(
        request.scope,
        b"[%b]" % found.documents,
        message="Customers retrieved successfully",
        meta=list_meta(asked, found, next_cursor) | read_meta(is_stale, asked.warnings),
        headers=page_links(
            CUSTOMERS,
            asked,
            found.total,
            next_cursor=next_cursor,
            is_exact=not found.total_is_bound,
        ),
    )


@route(_TAGS, http_method=METHODS, opt=READ)
async def list_tags(
    request: AnyRequest,
    means: NamedDependency[ReadMeans],
) -> Response[bytes]:
    """List the tags of customers, the most used first."""
    workspace_id = workspace_of(request)
    asked = means.requests.read_tags(request.scope, workspace_id)
    found, is_stale = await means.reads.list_tags(
        workspace_id, asked.offset, asked.per_page, asked.demand
    )
    return success(
        request.scope,
        [{"tag": tag, "count": count} for tag, count in found.tags],
        message="Tags retrieved successfully",
        meta=page_meta(asked, found.total) | read_meta(is_stale, asked.warnings),
        headers=page_links(_TAGS, asked, found.total, next_cursor=None, is_exact=True),
    )


@route(f"{CUSTOMERS}/{{customer_id:str}}", http_method=METHODS, opt=READ)
async def get_customer(
    request: AnyRequest,
    customer_id: CustomerIdText,
    means: NamedDependency[ReadMeans],
) -> Response[bytes]:
    """Fetch a customer by UUID."""
    workspace_id = workspace_of(request)
    asked = means.requests.read_one(request.scope, workspace_id, by_id=True)
    wanted = asked.read_path(lambda: CustomerId(read_customer_id(customer_id)))
    if asked.is_of_the_past:
        await means.reads.check(asked.demand)
        return await answer_customer_then(request, asked, wanted, means.past)
    found, is_stale = await means.reads.get(workspace_id, wanted, asked.demand)
    return _answer_one(request, asked, found, "id", is_stale=is_stale)


@route(EXTERNAL_PATHS, http_method=METHODS, opt=READ)
async def get_external_customer(
    request: AnyRequest,
    means: NamedDependency[ReadMeans],
) -> Response[bytes]:
    """Fetch a customer by your own id."""
    workspace_id = workspace_of(request)
    asked = means.requests.read_one(request.scope, workspace_id, by_id=False)
    wanted = asked.read_path(lambda: read_external_id(request.scope, EXTERNAL_ID_MAX))
    found, is_stale = await means.reads.get_by_external_id(workspace_id, wanted, asked.demand)
    return _answer_one(request, asked, found, "external_id", is_stale=is_stale)


ROUTES: tuple[HTTPRouteHandler, ...] = (
    list_customers,
    list_tags,
    get_customer,
    get_external_customer,
)


def _answer_one(
    request: AnyRequest,
    asked: OneRequest,
    found: FoundCustomer,
    sought_by: SoughtBy,
    *,
    is_stale: bool,
) -> Response[bytes]:
    """The answer to a call for one customer; that there is none comes before all other faults."""
    meta = read_meta(is_stale, asked.warnings)
    if found.erased:
        raise customer_erased(meta)
    if found.document is None or found.version is None:
        raise customer_not_found(sought_by, meta)
    return answer_customer(request, asked, found.document, found.version, is_stale=is_stale)
