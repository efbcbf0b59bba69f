"""The query string of a read, and the page that it asks for."""

from typing import Final

from msgspec import Struct

from query_side.queries import CustomerPage, ListQuery
from runtime.field_error import FieldError
from runtime.text import search_patterns, tag_key
from runtime.web.problems import ApiError
from runtime.web.query_string import ParameterReader, read_parameters

PER_PAGE_DEFAULT: Final = 20
PER_PAGE_MAX: Final = 100
# The offset of the last row of the last page is the highest number the database has for it.
PAGE_MAX: Final = (2**63 - 1) // PER_PAGE_MAX
SEARCH_MAX: Final = 1000
SEARCH_WORDS_MAX: Final = 100

_NOT_YET: Final = (
    "cursor",
    "sort",
    "email",
    "phone",
    "external_id",
    "created_after",
    "updated_after",
    "as_of",
)


class ListRequest(Struct, frozen=True, kw_only=True):
    """What a list call asks for."""

    page: int
    per_page: int
    query: ListQuery
    eventual: bool


def read_list_request(workspace_id: str, query_string: bytes) -> ListRequest:
    """What a list call asks for; raises ApiError 400 with all errors at once."""
    reader = ParameterReader(read_parameters(query_string))
    page = reader.number("page", 1, PAGE_MAX)
    per_page = reader.number("per_page", PER_PAGE_DEFAULT, PER_PAGE_MAX)
    tags_any = tuple(
        tuple(dict.fromkeys(tag_key(workspace_id, tag) for tag in group))
        for group in reader.many("tags")
    )
    tags_none = tuple(
        tag_key(workspace_id, tag) for group in reader.many("tags_none") for tag in group
    )
    search = search_patterns(_read_search(reader))
    if search is not None and len(search.anywhere) > SEARCH_WORDS_MAX:
        words = f"search takes at most {SEARCH_WORDS_MAX} different words."
        reader.refuse("search", words, "too_many")
    eventual = reader.eventual()
    for name in _NOT_YET:
        if reader.one(name) is not None:
            # To ignore a filter would answer with customers that were not asked for.
            reader.refuse(name, f"{name} is not supported by this version.", "not_supported")
    reader.finish()
    return ListRequest(
        page=page,
        per_page=per_page,
        query=ListQuery(
            offset=(page - 1) * per_page,
            limit=per_page,
            tags_any=tuple(dict.fromkeys(tags_any)),
            tags_none=tags_none,
            search=search,
        ),
        eventual=eventual,
    )


def _read_search(reader: ParameterReader) -> str:
    text = reader.one("search") or ""
    if len(text) > SEARCH_MAX:
        reader.refuse("search", f"search takes at most {SEARCH_MAX} characters.", "too_long")
        return ""
    return text


def page_meta(request: ListRequest, found: CustomerPage) -> dict[str, object]:
    """Where a page stands; raises ApiError 400 for a page beyond what a search counts to."""
    pages = -(-found.total // request.per_page)
    if found.total_is_bound and request.page > pages:
        error = FieldError(
            field="page",
            error=f"page must be from 1 to {pages}: a search is paged up to {found.total} matches.",
            code="out_of_range",
        )
        raise ApiError(400, f"{error.error} Search for more words.", errors=[error])
    meta: dict[str, object] = {
        "page": request.page,
        "per_page": request.per_page,
        "total": found.total,
        "total_pages": pages,
        "has_next": request.page < pages,
        "has_prev": request.page > 1 and pages > 0,
    }
    if found.total_is_bound:
        meta["total_is_lower_bound"] = True
    return meta
