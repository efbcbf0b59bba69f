"""HTTP <-> questions; the answers are finished JSON and pass through as they are."""

from collections.abc import Sequence
from typing import Final

from litestar import HttpMethod, Response, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from events.customer import EXTERNAL_ID_MAX
from events.envelope import CustomerId
from query_side.cursors import Cursor, Cursors
from query_side.pages import check_page, list_meta, page_links, page_meta
from query_side.reads import CustomerReads
from query_side.requests import OneRequest, RequestReader, workspace_of
from query_side.results import FoundCustomer
from runtime.web.conditions import etag
from runtime.web.customer_problems import SoughtBy, customer_erased, customer_not_found
from runtime.web.envelope import BASE_PATH, success
from runtime.web.ignored import warnings_meta
from runtime.web.paths import EXTERNAL_PATHS, CustomerIdText, read_customer_id, read_external_id
from runtime.web.problems import AnyRequest

_READ: Final = {"scope": "customers:read"}
_METHODS: Final = [HttpMethod.GET, HttpMethod.HEAD]
_CUSTOMERS: Final = f"{BASE_PATH}/customers"
_TAGS: Final = f"{_CUSTOMERS}/tags"


class ReadMeans(Struct, frozen=True, kw_only=True):
    """What the routes answer with.

    One dependency of theirs, not several: for those the framework starts a group of tasks.
    """

    reads: CustomerReads
    requests: RequestReader
    cursors: Cursors


@route(_CUSTOMERS, http_method=_METHODS, opt=_READ)
async def list_customers(
    request: AnyRequest,
    means: NamedDependency[ReadMeans],
) -> Response[bytes]:
    """List customers, newest first, in another order, or the best matches of a search first."""
    workspace_id = workspace_of(request)
    asked = means.requests.read_list(request.scope, workspace_id)
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
        meta=list_meta(asked, found, next_cursor) | _read_meta(is_stale, asked.warnings),
        headers=page_links(
            _CUSTOMERS,
            asked,
            found.total,
            next_cursor=next_cursor,
            is_exact=not found.total_is_bound,
        ),
    )


@route(_TAGS, http_method=_METHODS, opt=_READ)
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
        meta=page_meta(asked, found.total) | _read_meta(is_stale, asked.warnings),
        headers=page_links(_TAGS, asked, found.total, next_cursor=None, is_exact=True),
    )


@route(f"{_CUSTOMERS}/{{customer_id:str}}", http_method=_METHODS, opt=_READ)
async def get_customer(
    request: AnyRequest,
    customer_id: CustomerIdText,
    means: NamedDependency[ReadMeans],
) -> Response[bytes]:
    """Fetch a customer by UUID."""
    workspace_id = workspace_of(request)
    asked = means.requests.read_one(request.scope, workspace_id)
    wanted = asked.read_path(lambda: CustomerId(read_customer_id(customer_id)))
    found, is_stale = await means.reads.get(workspace_id, wanted, asked.demand)
    return _answer_one(request, asked, found, "id", is_stale=is_stale)


@route(EXTERNAL_PATHS, http_method=_METHODS, opt=_READ)
async def get_external_customer(
    request: AnyRequest,
    means: NamedDependency[ReadMeans],
) -> Response[bytes]:
    """Fetch a customer by your own id."""
    workspace_id = workspace_of(request)
    asked = means.requests.read_one(request.scope, workspace_id)
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
    meta = _read_meta(is_stale, asked.warnings)
    if found.erased:
        raise customer_erased(meta)
    if found.document is None or found.version is None:
        raise customer_not_found(sought_by, meta)
    asked.check()
    headers = {"ETag": etag(found.version)}
    # An answer that may be stale says so, and a 304 has no place for that.
    if asked.conditions.is_known(found.version) and not is_stale:
        return Response(b"", status_code=304, headers=headers)
    return success(
        request.scope,
        found.document,
        message="Customer retrieved successfully",
        meta=meta,
        headers=headers,
    )


def _read_meta(is_stale: bool, warnings: Sequence[str]) -> dict[str, object]:
    """What `meta` says of any read."""
    meta: dict[str, object] = {"stale": True} if is_stale else {}
    return meta | warnings_meta(warnings)
