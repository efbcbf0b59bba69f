"""What a read asks for: its query string and headers, and everything wrong with them at once."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

import msgspec
from litestar.types import Scope
from msgspec import Struct

from events.envelope import WorkspaceId
from events.history import VERSION_MAX
from events.token import Token, Tokens
from query_side.cursors import Cursors
from query_side.filters import read_filters, read_sort
from query_side.freshness import Demand
from query_side.list_query import ListQuery
from query_side.past import AsOf
from query_side.past_cursors import PlaceInPast, past_fingerprint
from runtime.conditions import Conditions
from runtime.field_error import FieldError
from runtime.web.authentication import principal_of
from runtime.web.conditions import IF_NONE_MATCH, read_conditions
from runtime.web.headers import header
from runtime.web.preferences import heed_handling
from runtime.web.problems import AnyRequest, ApiError, invalid_request
from runtime.web.query_string import ParameterReader, Parameters, read_parameters

PER_PAGE_DEFAULT: Final = 20
PER_PAGE_MAX: Final = 100
# The offset of the last row of the last page is the highest number the database has for it.
PAGE_MAX: Final = (2**63 - 1) // PER_PAGE_MAX
CONSISTENCY_HEADER: Final = "X-Consistency-Token"
_AS_OF: Final = "as_of"
_NOT_OF_THE_PAST: Final = (
    *("page", "search", "sort", "tags", "tags_none", "email", "phone", "external_id"),
    *("created_after", "updated_after"),
)

Id = TypeVar("Id")


def workspace_of(request: AnyRequest) -> WorkspaceId:
    """The data space that the request's key may see."""
    return WorkspaceId(principal_of(request.scope).workspace_id)


class ReadRequest(Struct, frozen=True, kw_only=True):
    """What every read asks for."""

    demand: Demand
    warnings: list[str]
    """Sentences on the unknown parameters."""


class PathRequest(ReadRequest, frozen=True, kw_only=True):
    """What a call for somebody in its path asks for beside."""

    errors: tuple[FieldError, ...]
    """All that is wrong; answered only when there is such a customer."""

    def read_path(self, read: Callable[[], Id]) -> Id:
        """The id in the path, as `read` finds it; raises ApiError for a malformed one.

        Nobody can be looked for under that, so all else that is wrong is answered with it.
        """
        try:
            return read()
        except ApiError as refused:
            raise invalid_request(refused.errors + self.errors) from None

    def check(self) -> None:
        """Raises ApiError with all that is wrong, if anything is."""
        if self.errors:
            raise invalid_request(self.errors)


class OneRequest(PathRequest, frozen=True, kw_only=True):
    """What a call for one customer asks for, beside its id."""

    conditions: Conditions
    is_of_the_past: bool
    """Whether it is to be told as it was."""
    as_of: AsOf | None
    """In which version, or when; None for now, and for what cannot be read."""


class PageRequest(ReadRequest, frozen=True, kw_only=True):
    """Which page a call asks for."""

    page: int | None
    """None: the page begins at a cursor."""
    per_page: int
    parameters: Parameters
    """All that the query string holds, so that links lead to the same list."""


class TagsRequest(PageRequest, frozen=True, kw_only=True):
    """Which tags a call asks for."""

    offset: int
    """How many tags come before the page."""


class ListRequest(PageRequest, frozen=True, kw_only=True):
    """Which part of which list a call asks for."""

    query: ListQuery


class PastListRequest(PageRequest, frozen=True, kw_only=True):
    """Which part of the list of all customers, as it was at a moment, a call asks for."""

    as_of: datetime
    after: PlaceInPast | None
    """None: the list begins."""


class RequestReader:
    """Reads requests; each but `read_one` raises ApiError 400 with all errors at once."""

    def __init__(self, tokens: Tokens, cursors: Cursors) -> None:
        self._tokens = tokens
        self._cursors = cursors

    def read_one(self, scope: Scope, workspace_id: WorkspaceId, *, by_id: bool) -> OneRequest:
        """What a call for one customer asks for; raises nothing that is wrong with it.

        Only by its id can it be asked for as it was.
        """
        conditions, errors = read_conditions(scope, IF_NONE_MATCH)
        parameters: Parameters = {}
        try:
            parameters = read_parameters(scope["query_string"])
        except ApiError as refused:
            errors = refused.errors + errors
        reader = ParameterReader(parameters)
        as_of = _read_as_of(reader, by_id=by_id)
        demand = read_demand(scope, workspace_id, reader, self._tokens)
        try:
            warnings = reader.finish(strict=heed_handling(scope))
        except ApiError as refused:
            demand, warnings, errors = Demand(), [], refused.errors + errors
        return OneRequest(
            demand=demand,
            warnings=warnings,
            conditions=conditions,
            is_of_the_past=by_id and _AS_OF in parameters,
            as_of=as_of,
            errors=errors,
        )

    def read_tags(self, scope: Scope, workspace_id: WorkspaceId) -> TagsRequest:
        """What a call for tags asks for."""
        parameters = read_parameters(scope["query_string"])
        reader = ParameterReader(parameters)
        page, per_page, offset = _read_page(reader)
        demand = read_demand(scope, workspace_id, reader, self._tokens)
        return TagsRequest(
            demand=demand,
            warnings=reader.finish(strict=heed_handling(scope)),
            page=page,
            per_page=per_page,
            parameters=parameters,
            offset=offset,
        )

    def read_list(self, scope: Scope, workspace_id: WorkspaceId) -> ListRequest | PastListRequest:
        """What a call for customers asks for."""
        parameters = read_parameters(scope["query_string"])
        if _AS_OF in parameters:
            return self._read_past_list(scope, workspace_id, parameters)
        reader = ParameterReader(parameters)
        page, per_page, offset = _read_page(reader)
        filters = read_filters(workspace_id, reader)
        sort = read_sort(reader, is_search=filters.search is not None)
        query = ListQuery(filters=filters, sort=sort, offset=offset, limit=per_page)
        after = self._read_cursor(workspace_id, query, reader)
        demand = read_demand(scope, workspace_id, reader, self._tokens)
        return ListRequest(
            demand=demand,
            warnings=reader.finish(strict=heed_handling(scope)),
            page=page if after is None else None,
            per_page=per_page,
            parameters=parameters,
            query=msgspec.structs.replace(query, after=after),
        )

    def _read_past_list(
        self, scope: Scope, workspace_id: WorkspaceId, parameters: Parameters
    ) -> PastListRequest:
        """What a call for all customers as they were asks for."""
        reader = ParameterReader(parameters)
        as_of = reader.moment(_AS_OF)
        per_page = reader.number("per_page", PER_PAGE_DEFAULT, PER_PAGE_MAX)
        for name in _NOT_OF_THE_PAST:
            why = f"{name} is not possible with as_of: that lists all customers, by cursor."
            reader.exclude(name, why)
        after = self._read_past_cursor(workspace_id, as_of, reader)
        demand = read_demand(scope, workspace_id, reader, self._tokens)
        warnings = reader.finish(strict=heed_handling(scope))
        assert as_of is not None, "else finish has refused it"  # noqa: S101 - a type guard
        return PastListRequest(
            demand=demand,
            warnings=warnings,
            page=None,
            per_page=per_page,
            parameters=parameters,
            as_of=as_of,
            after=after,
        )

    def _read_past_cursor(
        self, workspace_id: WorkspaceId, as_of: datetime | None, reader: ParameterReader
    ) -> PlaceInPast | None:
        text = reader.one("cursor")
        if text is None or as_of is None:
            return None
        cursor = self._cursors.read(workspace_id, text)
        if cursor is None:
            _refuse_cursor(reader)
        elif cursor.fingerprint != past_fingerprint(as_of):
            message = "cursor belongs to another list, or to one of another moment."
            reader.refuse("cursor", message, "other_query")
        else:
            return PlaceInPast.of_cursor(cursor)
        return None

    def _read_cursor(
        self, workspace_id: WorkspaceId, query: ListQuery, reader: ParameterReader
    ) -> tuple[str | None, ...] | None:
        """The place where the list goes on; None for a list that begins."""
        text = reader.one("cursor")
        if text is None:
            return None
        why = "page and cursor exclude each other: a cursor knows where the list goes on."
        reader.exclude("page", why)
        cursor = self._cursors.read(workspace_id, text)
        if cursor is None:
            _refuse_cursor(reader)
        elif cursor.fingerprint != query.fingerprint():
            message = "cursor belongs to a list with other filters, another search or another sort."
            reader.refuse("cursor", message, "other_query")
        return None if cursor is None else cursor.place


def read_demand(
    scope: Scope, workspace_id: WorkspaceId, reader: ParameterReader, tokens: Tokens
) -> Demand:
    """How fresh the answer must be."""
    token: Token | None = None
    given = header(scope, CONSISTENCY_HEADER.lower().encode())
    if given is not None:
        token = tokens.read(workspace_id, given.decode("latin-1"))
        if token is None:
            message = f"{CONSISTENCY_HEADER} must be one that a write of this workspace answered."
            reader.refuse(CONSISTENCY_HEADER, message, "invalid_token")
    return Demand(eventual=_read_eventual(reader), token=token)


def _read_page(reader: ParameterReader) -> tuple[int, int, int]:
    """Which page, how many on it, and how many come before it."""
    page = reader.number("page", 1, PAGE_MAX)
    per_page = reader.number("per_page", PER_PAGE_DEFAULT, PER_PAGE_MAX)
    return page, per_page, (page - 1) * per_page


def _read_eventual(reader: ParameterReader) -> bool:
    """Whether the answer may miss what its workspace wrote."""
    text = reader.one("consistency")
    if text not in (None, "eventual"):
        message = "consistency can only be `eventual`; without it a read shows every write."
        reader.refuse("consistency", message, "unknown_value")
    return text == "eventual"


def _refuse_cursor(reader: ParameterReader) -> None:
    message = "cursor must be a meta.next_cursor of this workspace, sent as it was given."
    reader.refuse("cursor", message, "invalid_cursor")


def _read_as_of(reader: ParameterReader, *, by_id: bool) -> AsOf | None:
    if by_id:
        before = len(reader.errors)
        as_of = reader.number_or_moment(_AS_OF, VERSION_MAX, "version")
        return as_of if len(reader.errors) == before else None
    if reader.one(_AS_OF) is not None:
        # To ignore it would answer with what is now.
        message = (
            "as_of is not possible by external_id, which may have been another customer's then; "
            "ask for the customer by its id."
        )
        reader.refuse(_AS_OF, message, "not_supported")
    return None
