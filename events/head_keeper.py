"""Writes signed heads on a schedule, in whichever relay process is first to hold the lock for it.

It needs Postgres alone: while NATS is away, heads are signed all the same, and JetStream gets them
when it is back. A log that contradicts what was signed before gets no signature, and `refusal` says
why until it is mended.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
import structlog
from msgspec import structs
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.errors import EventsError
from events.head_book import HeadBook
from events.relay import RelayState
from runtime.logs import harmless_message

_LOCK: Final = 730_545
_RETRY_SECONDS: Final = 1.0

log = structlog.get_logger()


class HeadKeeper:
    """Signs heads of one log; runs until its task is cancelled."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection[TupleRow]]],
        open_book: Callable[[AsyncConnection[TupleRow]], HeadBook],
        log_id: int,
        *,
        seconds: float,
    ) -> None:
        self._connect = connect
        self._open_book = open_book
        self._log_id = log_id
        self._seconds = seconds
        self.refusal = ""
        """Why no head is signed, in words; empty while all is well."""
        self.words = ""
        """What else a person should know."""

    def judge(self, relay: RelayState) -> RelayState:
        """What the process says of itself, given what its relay does."""
        if relay.condition not in {"starting", "publishing", "standing by"}:
            return relay
        if self.refusal:
            return structs.replace(relay, condition="not signing", words=self.refusal)
        return structs.replace(relay, words=relay.words or self.words)

    async def run(self) -> None:
        """Sign for ever, through every loss of the database."""
        while True:
            try:
                async with await self._connect() as connection:
                    await self._serve(connection)
            except psycopg.OperationalError as error:
                # The relay tells of it too, and neither needs a person.
                log.warning("heads.database_away", error=type(error).__name__)
            await asyncio.sleep(min(self._seconds, _RETRY_SECONDS))

    async def _serve(self, connection: AsyncConnection[TupleRow]) -> None:
        while not await self._is_ours(connection):
            self._note("")
            await asyncio.sleep(min(self._seconds, _RETRY_SECONDS))
        book = self._open_book(connection)
        while True:
            try:
                await book.write()
                self._note("")
            except EventsError as error:
                self._note(str(error))
            except psycopg.OperationalError:
                raise
            except Exception as error:
                # The cause may go away by itself, as a migration that is still to come does.
                log.exception("heads.failed")
                self._note(f"{type(error).__name__}: {harmless_message(error)}")
            self.words = "; ".join(
                f"heads are not kept in {place} now: {why}" for place, why in book.unkept.items()
            )
            await asyncio.sleep(self._seconds)

    async def _is_ours(self, connection: AsyncConnection[TupleRow]) -> bool:
        cursor = await connection.execute(
            "SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, self._log_id]
        )
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    def _note(self, refusal: str) -> None:
        if refusal != self.refusal:
            tell = log.error if refusal else log.info
            tell("heads.refused" if refusal else "heads.signed_again", words=refusal)
        self.refusal = refusal
