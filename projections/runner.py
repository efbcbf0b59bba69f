"""Keeps the read model up to date, whatever happens to Postgres, to NATS or to other projectors.

    catching up ──► live ──► catching up      far behind
        ▲             │
        └─ standing by ◄─ another projector moved the checkpoint; over when it no longer does

Only `stopped` needs a person, and it is left as soon as the reason is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, TypeAlias

import psycopg
import structlog
from msgspec import Struct
from nats.aio.client import Client
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from projections.checkpoint import open_checkpoint
from projections.customers import LogEvent
from projections.projector import Projector
from projections.source import SILENT_SECONDS, GenerationChanged, Source
from runtime.logs import harmless_message
from runtime.tasks import end

STANDBY_SECONDS: Final = 0.25
RETRY_SECONDS_FIRST: Final = 0.1
RETRY_SECONDS_MAX: Final = 2.0

log = structlog.get_logger()

Condition = Literal["starting", "catching up", "live", "standing by", "no connection", "stopped"]


class ProjectorState(Struct, frozen=True, kw_only=True):
    """What a projector says of itself: its condition, in words too, and how far it is."""

    condition: Condition = "starting"
    words: str = ""
    checkpoint: int = 0


Projected: TypeAlias = Callable[[Sequence[LogEvent], float], None]
"""Is told which events an edition has taken in at once, and how many seconds that took."""


def nobody_projected(_events: Sequence[LogEvent], _seconds: float) -> None:
    """Tell nobody."""


class ProjectorRunner:
    """Projects one log into one edition; runs until its task is cancelled.

    `connect` makes a connection in the projector's role, `client` raises nats.errors.Error while
    NATS is away, `ring` tells the readers of a new checkpoint and does not raise.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection[TupleRow]]],
        client: Callable[[], Client],
        keyring: Keyring,
        edition: int,
        *,
        log_id: int,
        ring: Callable[[Position], Awaitable[None]],
        on_projected: Projected = nobody_projected,
    ) -> None:
        self._connect = connect
        self._log_id = log_id
        self._ring = ring
        self._on_projected = on_projected
        self._edition = edition
        self._source = Source(client, keyring, log_id)
        self._retry_seconds = RETRY_SECONDS_FIRST
        self.state = ProjectorState()

    def appended(self, position: Position) -> None:
        """Somebody says that the log has come to this position: look now instead of polling."""
        self._source.appended(position)

    async def run(self) -> None:
        """Project for ever, through every loss of the database or of NATS."""
        delivering = asyncio.create_task(self._source.run())
        try:
            while True:
                await self._project_guarded()
        finally:
            await end(delivering)

    async def _project_guarded(self) -> None:
        """Project on one connection until something is in the way; then wait a moment."""
        self._source.start_over()
        try:
            async with await self._connect() as connection:
                await self._project(connection)
        except GenerationChanged:
            return
        except (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction) as error:
            self._note("no connection", f"the database does not answer: {type(error).__name__}")
        except Exception as error:
            # What is written is right up to the checkpoint; the cause may go away by itself.
            if self.state.condition != "stopped":
                log.exception("projector.stopped")
            self._note("stopped", f"{type(error).__name__}: {harmless_message(error)}")
        await asyncio.sleep(self._retry_seconds)
        self._retry_seconds = min(RETRY_SECONDS_MAX, 2 * self._retry_seconds)

    async def _project(self, connection: AsyncConnection[TupleRow]) -> None:
        checkpoint = await open_checkpoint(connection, self._edition, self._log_id)
        projector = Projector(connection, checkpoint)
        reader = LogReader(connection, self._log_id)
        self._note("catching up", checkpoint=projector.checkpoint.position)
        while True:
            events = await self._source.next(reader, projector.checkpoint)
            if events:
                await self._apply(projector, reader, events)
            self._note("live" if self._source.is_live else "catching up")

    async def _apply(
        self, projector: Projector, reader: LogReader, events: Sequence[LogEvent]
    ) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        match await projector.apply(events):
            case "applied":
                self._on_projected(events, now() - began)
                self._retry_seconds = RETRY_SECONDS_FIRST
                self._note(self.state.condition, checkpoint=projector.checkpoint.position)
                await self._ring(projector.checkpoint.position)
            case "foreign":
                self._source.distrust()
                await asyncio.sleep(SILENT_SECONDS)
            case "moved":
                self._source.start_over()
                await self._stand_by(projector, reader)

    async def _stand_by(self, projector: Projector, reader: LogReader) -> None:
        """Return when the log is ahead of a checkpoint that nobody moves any more."""
        while True:
            await projector.reload()
            before = projector.checkpoint.position
            self._note("standing by", "another projector is at work", checkpoint=before)
            await asyncio.sleep(STANDBY_SECONDS)
            await projector.reload()
            head = await reader.head()
            if projector.checkpoint.position == before and head.position > before:
                log.warning("projector.takes_over", checkpoint=before)
                return

    def _note(
        self, condition: Condition, words: str = "", *, checkpoint: int | None = None
    ) -> None:
        known = self.state
        if condition != known.condition:
            log.info("projector.condition", condition=condition, words=words)
        self.state = ProjectorState(
            condition=condition,
            words=words,
            checkpoint=known.checkpoint if checkpoint is None else checkpoint,
        )
