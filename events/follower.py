"""Follows the log for somebody who watches it: page after page, then whatever is appended.

The log itself is read, so that NATS may be away. Whoever hears of an append calls `wake`.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.append import Head, KeyedEvent
from events.envelope import Position
from events.errors import HistoryChanged, PositionBeyondEnd
from events.log import LogReader
from events.walk import LogWalk, Wanted

POLL_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.5
PAGE: Final = 200

Connect = Callable[[], Awaitable[AsyncConnection[TupleRow]]]


class Follower:
    """The wanted events of a log in order, through every loss of the database.

    `tell` is told in words when the database goes away, and when it is back.
    """

    def __init__(
        self,
        connect: Connect,
        log_id: int,
        wanted: Wanted,
        tell: Callable[[str], None],
        *,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._connect = connect
        self._log_id = log_id
        self._wanted = wanted
        self._tell = tell
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._seen = Position(0)
        self._chain = b""

    def wake(self) -> None:
        """Something was appended: look now instead of polling."""
        self._wake.set()

    async def pages(
        self,
        *,
        first: Position | None = None,
        newest: int = 0,
        follow: bool,
        begun: Callable[[Position], None] | None = None,
    ) -> AsyncGenerator[list[KeyedEvent]]:
        """Events from the first position on, or the newest so many; then new ones, for ever.

        Without `follow` it ends where the log ends now. `begun` is told the first position, or
        that of the next event. Raises PositionBeyondEnd, HistoryChanged, and psycopg.Error when
        the database cannot be used in the first place.
        """
        connection = await self._connect()
        try:
            head = await LogReader(connection, self._log_id).head()
            walk = await self._begin(connection, head, first, newest)
            if begun is not None:
                begun(first or Position(head.position + 1))
            while True:
                self._wake.clear()
                try:
                    page = await walk.read(connection, PAGE)
                except psycopg.OperationalError as error:
                    await connection.close()
                    connection = await self._connect_again(error)
                    continue
                if page:
                    last = page[-1].stored
                    self._seen, self._chain = last.position, last.chain
                    yield page if follow else _until(page, head.position)
                if not follow and (page is None or _has_reached(page, head.position)):
                    return
                if page is None:
                    await self._wait()
        finally:
            await connection.close()

    async def _begin(
        self,
        connection: AsyncConnection[TupleRow],
        head: Head,
        first: Position | None,
        newest: int,
    ) -> LogWalk:
        walk = LogWalk(self._log_id, self._wanted)
        self._seen, self._chain = head.position, head.chain
        if first is None:
            await walk.go_back(connection, newest)
        elif first <= head.position + 1:
            await walk.go_before(connection, first)
        else:
            raise PositionBeyondEnd(first, head.position)
        return walk

    async def _connect_again(self, error: psycopg.OperationalError) -> AsyncConnection[TupleRow]:
        reason = " ".join(str(error).split()) or type(error).__name__
        self._tell(f"Postgres is away ({reason}); going on as soon as it is back.")
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                connection = await self._connect()
                await self._check_lineage(connection)
            except psycopg.OperationalError:
                continue
            self._tell("Postgres is back.")
            return connection

    async def _check_lineage(self, connection: AsyncConnection[TupleRow]) -> None:
        """Refuse a log that was restored to an earlier point while nobody looked."""
        if self._seen == 0:
            return
        reader = LogReader(connection, self._log_id)
        events = await reader.read_after(Position(self._seen - 1), 1)
        if not events or events[0].stored.chain != self._chain:
            await connection.close()
            raise HistoryChanged(self._seen)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._wake.wait()
        except TimeoutError:
            return


def _has_reached(page: list[KeyedEvent], end: Position) -> bool:
    return bool(page) and page[-1].stored.position >= end


def _until(page: list[KeyedEvent], end: Position) -> list[KeyedEvent]:
    return [event for event in page if event.stored.position <= end]
