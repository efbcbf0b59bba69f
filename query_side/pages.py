"""The query string of a read, and the page that it asks for."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from msgspec import Struct

from query_side.queries import CustomerPage, ListQuery
from runtime.field_error import FieldError
from runtime.text import search_patterns, tag_key
from runtime.web.problems import ApiError

PER_PAGE_DEFAULT: Final = 20
PER_PAGE_MAX: Final = 100
# The offset of the last row of the last page is the highest number the database has for it.
PAGE_MAX: Final = (2**63 - 1) // PER_PAGE_MAX
SEARCH_MAX: Final = 1000
SEARCH_WORDS_MAX: Final = 100
TAGS_MAX: Final = 100
_PARAMETERS_MAX: Final = 1000

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
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]+")

Parameters = Mapping[str, list[str]]


class ListRequest(Struct, frozen=True, kw_only=True):
    """What a list call asks for."""

    page: int
    per_page: int
    query: ListQuery
    eventual: bool


def read_parameters(query_string: bytes) -> Parameters:
    """The parameters by name, in order; a `+` is a space. Raises ApiError 400."""
    if not query_string:
        return {}
    parameters: dict[str, list[str]] = {}
    try:
        # Bytes beyond ASCII belong percent-encoded, but some clients send them as they are.
        pairs = parse_qsl(
            query_string.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_PARAMETERS_MAX,
        )
    except UnicodeDecodeError:
        raise ApiError(400, "The query string is not UTF-8.") from None
    except ValueError:
        words = f"The query string has more than {_PARAMETERS_MAX} parameters."
        raise ApiError(400, words) from None
    for name, value in pairs:
        parameters.setdefault(name, []).append(value)
    return parameters


class ParameterReader:
    """Reads parameters and collects everything that is wrong with them."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.errors: list[FieldError] = []

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number from 1 to `most`."""
        text = self.one(name)
        if text is None:
            return default
        if _WHOLE_NUMBER.fullmatch(text) is None:
            self.refuse(name, f"{name} must be a whole number from 1 to {most}.", "not_a_number")
            return default
        # Python itself refuses to read numbers of thousands of digits.
        number = int(text) if len(text) <= len(str(most)) + 10 else 0
        if not 1 <= number <= most:
            self.refuse(name, f"{name} must be from 1 to {most}.", "out_of_range")
            return default
        return number

    def one(self, name: str) -> str | None:
        """A parameter that may be given once."""
        values = self._parameters.get(name)
        if values is None:
            return None
        if len(values) > 1:
            self.refuse(name, f"{name} is given {len(values)} times; give it once.", "repeated")
        return values[0]

    def many(self, name: str) -> list[list[str]]:
        """Comma-separated values for each time the parameter is given, without blanks."""
        groups = [
            [part.strip() for part in value.split(",") if part.strip()]
            for value in self._parameters.get(name, [])
        ]
        if sum(map(len, groups)) > TAGS_MAX:
            self.refuse(name, f"{name} takes at most {TAGS_MAX} values.", "too_many")
            return []
        return [group for group in groups if group]

    def eventual(self) -> bool:
        """Whether the read may be behind."""
        text = self.one("consistency")
        if text not in (None, "eventual"):
            words = "consistency can only be `eventual`; without it a read shows every write."
            self.refuse("consistency", words, "unknown_value")
        return text == "eventual"

    def refuse(self, name: str, error: str, code: str) -> None:
        """Note something wrong with a parameter."""
        self.errors.append(FieldError(field=name, error=error, code=code))

    def finish(self) -> None:
        """Raise ApiError 400 naming everything that is wrong, if anything is."""
        if self.errors:
            message = " ".join(error.error for error in self.errors)
            raise ApiError(400, message, errors=self.errors)


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
