"""A walk through the wanted events of a log: all, a workspace's or a customer's, each by its index.

Within each of these the events have numbers without gaps, which rise as positions do: the position
itself, the workspace's sequence, the version of the customer's stream. So a place is one number.
Types have no index: they are looked for in stretches, so that no statement takes long.
"""

from typing import Any, Final, LiteralString

from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, args_row

from events.append import KeyedEvent
from events.envelope import CustomerId, Position, WorkspaceId
from events.log import SELECT_KEYED, keyed_event

STRETCH: Final = 20_000
"""So many events one statement looks at, at most."""


class Wanted(Struct, frozen=True, kw_only=True):
    """Which events: those that fit everything that is said here; with nothing said, all."""

    workspace_id: WorkspaceId | None = None
    customer_id: CustomerId | None = None
    types: tuple[str, ...] = ()


class _Scope(Struct, frozen=True, kw_only=True):
    """Events that are numbered together: how they are found, and the column of the number."""

    where: LiteralString
    number: LiteralString


_LOG: Final = _Scope(where="e.log_id = %(log)s::int4", number="position")
_WORKSPACE: Final = _Scope(
    where="e.workspace_id = %(workspace)s::text AND e.log_id = %(log)s::int4",
    number="workspace_sequence",
)
_CUSTOMER: Final = _Scope(
    where="e.stream_id = %(customer)s::uuid AND e.log_id = %(log)s::int4"
    " AND (%(workspace)s::text IS NULL OR e.workspace_id = %(workspace)s::text)",
    number="stream_version",
)
_OF_TYPES: Final[LiteralString] = "(%(types)s::text[] IS NULL OR e.type = ANY (%(types)s::text[]))"


class LogWalk:
    """A place among the wanted events of a log; any connection that may read the log serves it."""

    def __init__(self, log_id: int, wanted: Wanted, *, stretch: int = STRETCH) -> None:
        self._stretch = stretch
        self._scope = _LOG
        if wanted.workspace_id is not None:
            self._scope = _WORKSPACE
        if wanted.customer_id is not None:
            self._scope = _CUSTOMER
        self._parameters: dict[str, object] = {
            "log": log_id,
            "workspace": wanted.workspace_id,
            "customer": wanted.customer_id,
            "types": list(wanted.types) or None,
        }
        self._done = 0
        """The number of the last event that is done with."""

    async def last_number(self, connection: AsyncConnection[TupleRow]) -> int:
        """How many events there are of the workspace, the customer or the log, of any type."""
        number, where = self._scope.number, self._scope.where
        query: LiteralString = (
            f"SELECT e.{number} FROM log.events e WHERE {where} ORDER BY e.{number} DESC LIMIT 1"  # noqa: S608 - literals
        )
        return await self._one(connection, query, {}) or 0

    async def go_before(self, connection: AsyncConnection[TupleRow], position: Position) -> None:
        """Go on with the first wanted event that stands at this position or behind it."""
        number, where = self._scope.number, self._scope.where
        query: LiteralString = (
            f"SELECT e.position FROM log.events e WHERE {where} AND e.{number} = %(number)s::int8"  # noqa: S608 - literals
        )
        low, high = 0, await self.last_number(connection)
        while low < high:
            middle = (low + high + 1) // 2
            found = await self._one(connection, query, {"number": middle})
            if found is not None and found < position:
                low = middle
            else:
                high = middle - 1
        self._done = low

    async def go_back(self, connection: AsyncConnection[TupleRow], events: int) -> None:
        """Go on with the newest wanted events, so many of them."""
        number = self._scope.number
        query = self._looking(f"SELECT e.{number} FROM log.events e", "DESC")  # noqa: S608 - literals
        high = await self.last_number(connection)
        self._done = high
        missing = events
        while missing > 0 and high > 0:
            low = max(0, high - self._stretch)
            bounds = {"low": low, "high": high, "limit": min(missing, self._stretch)}
            # Planned each time: a plan made while the log was empty must not be kept.
            cursor = await connection.execute(query, self._parameters | bounds, prepare=False)
            found = await cursor.fetchall()
            if found:
                self._done = int(found[-1][0]) - 1
            missing -= len(found)
            high = low

    async def read(
        self, connection: AsyncConnection[TupleRow], limit: int
    ) -> list[KeyedEvent] | None:
        """The next wanted events, none when a stretch has none; None at the end of the log."""
        # Asked first: what is appended from now on is not behind us but before us.
        end = await self.last_number(connection)
        if self._done >= end:
            return None
        high = min(end, self._done + self._stretch)
        bounds = {"low": self._done, "high": high, "limit": limit}
        cursor = connection.cursor(row_factory=args_row(keyed_event), binary=True)
        query = self._looking(SELECT_KEYED, "ASC")
        await cursor.execute(query, self._parameters | bounds, prepare=False)
        events = await cursor.fetchall()
        is_full = len(events) == limit
        self._done = getattr(events[-1].stored, self._scope.number) if is_full else high
        return events

    def _looking(self, select: LiteralString, order: LiteralString) -> LiteralString:
        number = self._scope.number
        return (
            f"{select} WHERE {self._scope.where} AND {_OF_TYPES}"
            f" AND e.{number} > %(low)s::int8 AND e.{number} <= %(high)s::int8"
            f" ORDER BY e.{number} {order} LIMIT %(limit)s::int4"
        )

    async def _one(
        self, connection: AsyncConnection[TupleRow], query: LiteralString, more: dict[str, Any]
    ) -> int | None:
        cursor = await connection.execute(query, self._parameters | more, prepare=False)
        row = await cursor.fetchone()
        return None if row is None else int(row[0])
