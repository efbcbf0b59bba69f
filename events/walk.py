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
from events.errors import LostHistory
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


class _Place(Struct, frozen=True, kw_only=True):
    """A number, and the position and the chain of the last event that it counts."""

    number: int = 0
    position: Position = Position(0)
    chain: bytes = b""


class LogWalk:
    """Walks through the wanted events of a log, over any connection that may read it."""

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
        self._done = _Place()
        """How far the events are done with, wanted ones and others."""
        self._last: int | None = None
        """Where it ends, whatever is appended; None: where the log ends."""

    async def last_number(self, connection: AsyncConnection[TupleRow]) -> int:
        """How many events there are of the workspace, the customer or the log, of any type."""
        number, where = self._scope.number, self._scope.where
        query: LiteralString = (
            f"SELECT e.{number} FROM log.events e WHERE {where} ORDER BY e.{number} DESC LIMIT 1"  # noqa: S608 - literals
        )
        row = await self._one(connection, query, {})
        return 0 if row is None else int(row[0])

    async def check_lineage(self, connection: AsyncConnection[TupleRow]) -> None:
        """Raise LostHistory when the last event that was looked at is not in the log any more."""
        done = self._done
        if await self._place(connection, done.number) != done:
            reason = "that event is not there as it was read"
            raise LostHistory("The log", done.position, reason)

    async def go_before(self, connection: AsyncConnection[TupleRow], position: Position) -> None:
        """Go on with the first wanted event that stands at this position or behind it."""
        self._done = await self._before(connection, position)

    async def end_at(self, connection: AsyncConnection[TupleRow], position: Position) -> int:
        """Have no event behind this position; how many there are before, of any type."""
        last = await self._before(connection, Position(position + 1))
        self._last = last.number
        return max(0, last.number - self._done.number)

    async def go_back(self, connection: AsyncConnection[TupleRow], events: int) -> Position | None:
        """Go on with the newest wanted events, so many of them; the position of the first one."""
        number = self._scope.number
        query = self._looking(f"SELECT e.{number}, e.position FROM log.events e", "DESC")  # noqa: S608 - literals
        first: Position | None = None
        high = done = await self.last_number(connection)
        missing = events
        while missing > 0 and high > 0:
            low = max(0, high - self._stretch)
            bounds = {"low": low, "high": high, "limit": min(missing, self._stretch)}
            # Planned each time: a plan made while the log was empty must not be kept.
            cursor = await connection.execute(query, self._parameters | bounds, prepare=False)
            found = await cursor.fetchall()
            if found:
                done = int(found[-1][0]) - 1
                first = Position(found[-1][1])
            missing -= len(found)
            high = low
        self._done = await self._place(connection, done)
        return first

    async def read(
        self, connection: AsyncConnection[TupleRow], limit: int
    ) -> list[KeyedEvent] | None:
        """The next wanted events, none when a stretch has none; None at the end.

        Raises LostHistory when the log was restored to before the events that were looked at.
        """
        await self.check_lineage(connection)
        # Asked first: what is appended from now on is not behind us but before us.
        end = await self.last_number(connection) if self._last is None else self._last
        low = self._done.number
        if low >= end:
            return None
        high = min(end, low + self._stretch)
        bounds = {"low": low, "high": high, "limit": limit}
        cursor = connection.cursor(row_factory=args_row(keyed_event), binary=True)
        query = self._looking(SELECT_KEYED, "ASC")
        await cursor.execute(query, self._parameters | bounds, prepare=False)
        events = await cursor.fetchall()
        if len(events) == limit:
            high = int(getattr(events[-1].stored, self._scope.number))
        self._done = await self._place(connection, high)
        return events

    async def _before(self, connection: AsyncConnection[TupleRow], position: Position) -> _Place:
        """The last place before a position."""
        low, high = _Place(), await self.last_number(connection)
        while low.number < high:
            middle = await self._place(connection, (low.number + high + 1) // 2)
            if middle.position < position:
                low = middle
            else:
                high = middle.number - 1
        return low

    async def _place(self, connection: AsyncConnection[TupleRow], up_to: int) -> _Place:
        number, where = self._scope.number, self._scope.where
        query: LiteralString = (
            f"SELECT e.position, e.chain FROM log.events e"  # noqa: S608 - literals
            f" WHERE {where} AND e.{number} <= %(up_to)s::int8 ORDER BY e.{number} DESC LIMIT 1"
        )
        row = await self._one(connection, query, {"up_to": up_to})
        if row is None:
            return _Place(number=up_to)
        return _Place(number=up_to, position=Position(row[0]), chain=bytes(row[1]))

    def _looking(self, select: LiteralString, order: LiteralString) -> LiteralString:
        number = self._scope.number
        return (
            f"{select} WHERE {self._scope.where} AND {_OF_TYPES}"
            f" AND e.{number} > %(low)s::int8 AND e.{number} <= %(high)s::int8"
            f" ORDER BY e.{number} {order} LIMIT %(limit)s::int4"
        )

    async def _one(
        self, connection: AsyncConnection[TupleRow], query: LiteralString, more: dict[str, Any]
    ) -> TupleRow | None:
        cursor = await connection.execute(query, self._parameters | more, prepare=False)
        return await cursor.fetchone()
