"""Follows the log for somebody who watches it: page after page, then whatever is appended.

The log itself is read, so that NATS may be away. Whoever hears of an append calls `wake`.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Final

import psycopg
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.append import Head, KeyedEvent
from events.envelope import Position
from events.errors import PositionBeyondEnd
from events.log import LogReader
from events.walk import LogWalk, Wanted
from runtime.waiting import is_set_within
from runtime.words import one_line

POLL_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.5
PAGE: Final = 200

Connect = Callable[[], Awaitable[AsyncConnection[TupleRow]]]


class Begun(Struct, frozen=True, kw_only=True):
    """Where the reading begins, and where it ends."""

    first: Position
    last: Position | None
    """None when it never ends."""
    events: int | None
    """How many there are to read, of any type."""


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

    def wake(self) -> None:
        """Something was appended: look now instead of polling."""
        self._wake.set()

    async def pages(
        self,
        *,
        first: Position | None = None,
        last: Position | None = None,
        newest: int = 0,
        follow: bool,
        begun: Callable[[Begun], None] | None = None,
    ) -> AsyncGenerator[list[KeyedEvent]]:
        """Events from the first position on, or the newest so many; then new ones, for ever.

        Without `follow` it ends at the last position, or where the log ends now. `begun` is told
        where it begins: at the position asked for, at the first of the newest, or behind the end.
        Raises PositionBeyondEnd, LostHistory, and psycopg.Error when the database cannot be used
        in the first place.
        """
        connection = await self._connect()
        try:
            head = await LogReader(connection, self._log_id).head()
            walk, start = await self._begin(connection, head, first, newest)
            end, events = None, None
            if not follow:
                end = head.position if last is None else min(last, head.position)
                events = await walk.end_at(connection, end)
            if begun is not None:
                begun(Begun(first=start, last=end, events=events))
            has_read = False
            while True:
                self._wake.clear()
                try:
                    page = await walk.read(connection, PAGE)
                    has_read = True
                except psycopg.Error as error:
                    if not (has_read or isinstance(error, psycopg.OperationalError)):
                        raise
                    await connection.close()
                    connection = await self._connect_again(walk, error)
                    continue
                if page:
                    yield page
                if page is None and not follow:
                    return
                if page is None:
                    await is_set_within(self._wake, self._poll_seconds)
        finally:
            await connection.close()

    async def _begin(
        self,
        connection: AsyncConnection[TupleRow],
        head: Head,
        first: Position | None,
        newest: int,
    ) -> tuple[LogWalk, Position]:
        walk = LogWalk(self._log_id, self._wanted)
        following = Position(head.position + 1)
        if first is None and newest > 0:
            return walk, await walk.go_back(connection, newest) or following
        start = following if first is None else first
        if start > following:
            raise PositionBeyondEnd(start, head.position)
        await walk.go_before(connection, start)
        return walk, start

    async def _connect_again(
        self, walk: LogWalk, error: psycopg.Error
    ) -> AsyncConnection[TupleRow]:
        why = error.diag.message_primary or one_line(error)
        if isinstance(error, psycopg.OperationalError):
            self._tell(f"Postgres is away ({why}); going on as soon as it is back.")
            back = "Postgres is back."
        else:
            # A database that is being restored has tables before one may read them, or none yet.
            self._tell(f"The log cannot be read ({why}); going on as soon as it can.")
            back = "The log can be read again."
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            with suppress(psycopg.Error):
                connection = await self._connect_to_same_history(walk)
                self._tell(back)
                return connection

    async def _connect_to_same_history(self, walk: LogWalk) -> AsyncConnection[TupleRow]:
        connection = await self._connect()
        try:
            await walk.check_lineage(connection)
        except BaseException:
            await connection.close()
            raise
        return connection
