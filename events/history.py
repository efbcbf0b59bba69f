"""What happened to one customer, and how customers were at an earlier moment, read from the log.

A moment is a place in the workspace's own sequence. The log only grows behind it, so whoever reads
on at the same place finds the same customers, whatever is written meanwhile.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

from msgspec import Struct
from psycopg.rows import TupleRow

from events.append import KeyedEvent
from events.envelope import CustomerId, StreamVersion, WorkspaceId
from events.errors import CorruptEvent
from events.feed import FeedPlace
from events.log import LOOK_UP_SECONDS, keyed_event
from runtime.postgres import Pool, fetch_all

VERSION_MAX: Final = 2**31 - 1

# A page of one customer's events, of this workspace only.
_READ_HISTORY: Final[LiteralString] = """
SELECT * FROM log.read_history(%b, %b::int4, %b::uuid, %b::int4, %b::int4, %b::int8)
"""

# How many events the workspace had at a moment.
_FIND_MOMENT: Final[LiteralString] = "SELECT * FROM log.find_moment(%b, %b::int4, %b::timestamptz)"

# Whether a place is still of this history.
_HAS_MOMENT: Final[LiteralString] = "SELECT log.has_moment(%b, %b::int4, %b::int8, %b)"

# One customer in a version or at a place.
_READ_AS_OF: Final[LiteralString] = """
SELECT * FROM log.read_as_of(%b, %b::int4, %b::uuid, %b::int4, %b::int8)
"""

# A page of this workspace's customers at a place.
_LIST_AS_OF: Final[LiteralString] = """
SELECT * FROM log.list_as_of(%b, %b::int4, %b::int8, %b::int8, %b::int4, %b::int4)
"""


class HistoryPage(Struct, frozen=True, kw_only=True):
    """Events of one customer that follow one another without a gap."""

    events: Sequence[KeyedEvent]
    newest: StreamVersion
    """The version that the customer has come to."""
    erased: bool
    """Whether the customer was erased by now."""


class PastCustomer(Struct, frozen=True, kw_only=True):
    """A customer as it was: the event that made it so."""

    keyed: KeyedEvent
    created_at: datetime


class FoundInPast(Struct, frozen=True, kw_only=True):
    """A customer of the workspace, as it is and was."""

    erased: bool
    """Whether it was erased by now."""
    then: PastCustomer | None
    """None: there was no such version, or nothing had happened yet."""


class PastPage(Struct, frozen=True, kw_only=True):
    """Customers as they were, newest created first."""

    customers: Sequence[PastCustomer]
    next_before: int | None
    """Goes on with the customers created before this event of the workspace; None at the end."""


class HistoryLog:
    """The log as a history has it: one workspace at a time."""

    def __init__(self, pool: Pool, log_id: int) -> None:
        self._pool = pool
        self._log_id = log_id

    async def read_page(
        self,
        workspace_id: WorkspaceId,
        customer_id: CustomerId,
        after: StreamVersion,
        *,
        limit: int,
        size: int,
    ) -> HistoryPage | None:
        """Events behind a version, at most `limit` and of `size` bytes together, but at least one.

        None when the customer is none of this workspace. Raises CorruptEvent when an event is
        missing between two.
        """
        asked = [workspace_id, self._log_id, customer_id, after, limit, size]
        rows = await self._fetch(_READ_HISTORY, asked)
        if not rows:
            return None
        events = [event for _, *columns in rows if (event := _event(columns)) is not None]
        for expected, event in enumerate(events, after + 1):
            if event.stored.stream_version != expected:
                raise _missing(customer_id, expected)
        newest, erased = rows[0][0], rows[0][_ERASED]
        if not events and after < newest:
            raise _missing(customer_id, after + 1)
        return HistoryPage(events=events, newest=newest, erased=erased)

    async def find_moment(self, workspace_id: WorkspaceId, at: datetime) -> FeedPlace | None:
        """The place of a moment; None when it is still to come."""
        [(sequence, chain)] = await self._fetch(_FIND_MOMENT, [workspace_id, self._log_id, at])
        return None if sequence is None else FeedPlace(sequence=sequence, chain=bytes(chain))

    async def has_moment(self, workspace_id: WorkspaceId, place: FeedPlace) -> bool:
        """Whether the log has this place, with these events before it."""
        asked = [workspace_id, self._log_id, place.sequence, place.chain]
        [(has,)] = await self._fetch(_HAS_MOMENT, asked)
        return has

    async def read_version(
        self, workspace_id: WorkspaceId, customer_id: CustomerId, version: StreamVersion
    ) -> FoundInPast | None:
        """A customer in a version; None when it is none of this workspace."""
        return await self._read_as_of(workspace_id, customer_id, version, None)

    async def read_at(
        self, workspace_id: WorkspaceId, customer_id: CustomerId, place: FeedPlace
    ) -> FoundInPast | None:
        """A customer at a place; None when it is none of this workspace."""
        return await self._read_as_of(workspace_id, customer_id, None, place.sequence)

    async def _read_as_of(
        self,
        workspace_id: WorkspaceId,
        customer_id: CustomerId,
        version: StreamVersion | None,
        sequence: int | None,
    ) -> FoundInPast | None:
        asked = [workspace_id, self._log_id, customer_id, version, sequence]
        rows = await self._fetch(_READ_AS_OF, asked)
        if not rows:
            return None
        [(created_at, *columns)] = rows
        return FoundInPast(erased=rows[0][_ERASED], then=_past(created_at, columns))

    async def list_at(
        self,
        workspace_id: WorkspaceId,
        place: FeedPlace,
        before: int | None,
        *,
        limit: int,
        looks: int,
    ) -> PastPage:
        """At most `limit` of all customers at a place, found with at most `looks` at customers.

        Those that were deleted then, or are erased by now, cost a look and are left out.
        """
        begin = place.sequence + 1 if before is None else before
        asked = [workspace_id, self._log_id, place.sequence, begin, limit, looks]
        rows = await self._fetch(_LIST_AS_OF, asked)
        customers = [past for _, at, *columns in rows if (past := _past(at, columns)) is not None]
        return PastPage(
            customers=customers,
            next_before=rows[-1][0] if len(rows) > len(customers) else None,
        )

    async def _fetch(self, query: LiteralString, parameters: Sequence[object]) -> list[TupleRow]:
        return await fetch_all(self._pool, query, parameters, seconds=LOOK_UP_SECONDS)


# Behind one column of the question's own come those of an event, `erased` the third from the end.
_ERASED: Final = -3


def _event(columns: Sequence[Any]) -> KeyedEvent | None:
    """The event of a row; None when the row has none."""
    return None if columns[0] is None else keyed_event(*columns)


def _past(created_at: datetime, columns: Sequence[Any]) -> PastCustomer | None:
    keyed = _event(columns)
    return None if keyed is None else PastCustomer(keyed=keyed, created_at=created_at)


def _missing(customer_id: CustomerId, version: int) -> CorruptEvent:
    return CorruptEvent(
        f"The log has no version {version} of customer {customer_id}, but one behind it: it was "
        "removed by hand. Restore the database from a backup."
    )
