"""What a page says beside its rows: where it stands, and the addresses of its neighbours."""

from typing import Final
from urllib.parse import urlencode

from query_side.requests import ListRequest, PageRequest
from query_side.results import CustomerPage
from runtime.field_error import FieldError
from runtime.web.problems import ApiError

_PLACES: Final = frozenset(("page", "cursor"))


def check_page(request: ListRequest, found: CustomerPage) -> None:
    """Raise ApiError 400 for a page beyond what a search counts to."""
    pages = count_pages(request, found.total)
    if found.total_is_bound and request.page is not None and request.page > pages:
        error = FieldError(
            field="page",
            error=f"page must be from 1 to {pages}: a search is paged up to {found.total} matches.",
            code="out_of_range",
        )
        message = "The cursor in meta.next_cursor goes on from there."
        raise ApiError(400, f"{error.error} {message}", errors=[error])


def page_meta(request: PageRequest, total: int) -> dict[str, object]:
    """Where a page stands."""
    pages = count_pages(request, total)
    page = request.page
    return {
        "page": page,
        "per_page": request.per_page,
        "total": total,
        "total_pages": pages,
        "has_next": page is not None and page < pages,
        "has_prev": page is None or (page > 1 and pages > 0),
    }


def list_meta(
    request: ListRequest, found: CustomerPage, next_cursor: str | None
) -> dict[str, object]:
    """Where a page of customers stands; the list may go on where its pages end."""
    meta = page_meta(request, found.total)
    meta |= {"has_next": next_cursor is not None, "next_cursor": next_cursor}
    if found.total_is_bound:
        meta["total_is_lower_bound"] = True
    return meta


def page_links(
    path: str, request: PageRequest, total: int, *, next_cursor: str | None, is_exact: bool
) -> dict[str, str]:
    """The header Link (RFC 8288) of a page, if there is anything to link to.

    Where pages end and the list does not, the cursor leads to the next one.
    """
    pages, page = count_pages(request, total), request.page
    targets: dict[str, tuple[str, object]] = {}
    if page is not None:
        targets["first"] = ("page", 1)
        if page > 1 and pages > 0:
            targets["prev"] = ("page", min(page - 1, pages))
        if page < pages:
            targets["next"] = ("page", page + 1)
        if is_exact and pages > 0:
            targets["last"] = ("page", pages)
    if next_cursor is not None:
        targets.setdefault("next", ("cursor", next_cursor))
    kept = [
        (name, value)
        for name, values in request.parameters.items()
        if name not in _PLACES
        for value in values
    ]
    links = ", ".join(
        f'<{path}?{urlencode([*kept, target])}>; rel="{relation}"'
        for relation, target in targets.items()
    )
    return {"Link": links} if links else {}


def count_pages(request: PageRequest, total: int) -> int:
    """How many pages so many rows make."""
    return -(-total // request.per_page)
