"""HTTP <-> the past: the answers to `as_of`."""

from typing import Final

from litestar import Response

from events.envelope import CustomerId
from query_side.answers import CUSTOMERS, answer_customer
from query_side.cursors import Cursors
from query_side.pages import page_links
from query_side.past import CustomerThen, MomentToCome, Past
from query_side.past_cursors import PlaceInPast
from query_side.refusals import TO_COME
from query_side.requests import OneRequest, PastListRequest, workspace_of
from runtime.clock import format_time
from runtime.web.authentication import principal_of
from runtime.web.customer_problems import customer_erased, customer_not_then
from runtime.web.envelope import success
from runtime.web.ignored import warnings_meta
from runtime.web.problems import AnyRequest, invalid_request

_NO_TOTAL: Final = 0


async def answer_customer_then(
    request: AnyRequest, asked: OneRequest, customer_id: CustomerId, past: Past
) -> Response[bytes]:
    """A customer as it was; that there was none comes before all that is wrong beside."""
    meta = warnings_meta(asked.warnings)
    if asked.as_of is None:
        erased = await past.is_erased(workspace_of(request), customer_id)
        then = CustomerThen(erased=erased is True)
        if erased is False:
            asked.check()
    else:
        try:
            then = await past.get(principal_of(request.scope), customer_id, asked.as_of)
        except MomentToCome:
            raise invalid_request((*asked.errors, TO_COME)) from None
    if then.erased:
        raise customer_erased(meta)
    if then.document is None or then.version is None:
        raise customer_not_then(meta)
    return answer_customer(request, asked, then.document, then.version, is_stale=False)


async def answer_list_then(
    request: AnyRequest, asked: PastListRequest, past: Past, cursors: Cursors
) -> Response[bytes]:
    """A page of all customers as they were at a moment."""
    workspace_id = workspace_of(request)
    if asked.after is None:
        moment, before = await past.find_moment(workspace_id, asked.as_of), None
    else:
        moment, before = asked.after.moment, asked.after.before
        await past.check_place(workspace_id, moment)
    page = await past.list_customers(
        principal_of(request.scope), moment, before, limit=asked.per_page
    )
    next_cursor = None
    if page.next_before is not None:
        place = PlaceInPast(moment=moment, before=page.next_before)
        next_cursor = cursors.write(workspace_id, place.cursor(asked.as_of))
    meta: dict[str, object] = {
        "as_of": format_time(asked.as_of),
        "per_page": asked.per_page,
        "has_next": next_cursor is not None,
        "next_cursor": next_cursor,
    }
    return success(
        request.scope,
        b"[%b]" % page.documents,
        message="Customers retrieved successfully",
        meta=meta | warnings_meta(asked.warnings),
        headers=page_links(CUSTOMERS, asked, _NO_TOTAL, next_cursor=next_cursor, is_exact=False),
    )
