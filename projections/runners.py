"""Projects every edition that is complete: the one that is read, and those kept beside it.

An edition is listed before it goes live and until it is dropped, so that each can be switched to
at once, and an erased person is in none of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import psycopg
import structlog
from msgspec import Struct
from msgspec.structs import replace
from nats.aio.client import Client
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import Position
from events.keys import Keyring
from projections.checkpoint import NoEdition
from projections.customers import LogEvent
from projections.runner import Projected, ProjectorRunner, ProjectorState, nobody_projected
from runtime.lifecycle import TROUBLED
from runtime.logs import harmless_message
from runtime.tasks import end

LOOK_SECONDS: Final = 0.1
"""How often the list of editions is looked at."""
_RETRY_SECONDS: Final = 1.0
_LIST: Final = "SELECT edition, live FROM projections.list_editions()"

log = structlog.get_logger()


class _Projected(Struct, frozen=True):
    runner: ProjectorRunner
    task: asyncio.Task[None]


class ProjectorRunners:
    """One projector for each edition of a log; the arguments are those of ProjectorRunner."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection[TupleRow]]],
        client: Callable[[], Client],
        keyring: Keyring,
        *,
        log_id: int,
        ring: Callable[[Position], Awaitable[None]],
        on_projected: Projected = nobody_projected,
    ) -> None:
        self._connect = connect
        self._client = client
        self._keyring = keyring
        self._log_id = log_id
        self._ring = ring
        self._on_projected = on_projected
        self._projected: dict[int, _Projected] = {}
        self._live: int | None = None
        self._trouble: ProjectorState | None = None

    @property
    def state(self) -> ProjectorState:
        """The state of the live edition's projector; the trouble of another one comes first."""
        if self._live is None or self._live not in self._projected:
            return self._trouble or ProjectorState()
        states = {edition: one.runner.state for edition, one in self._projected.items()}
        live = states.pop(self._live)
        for edition, other in states.items():
            if other.condition in TROUBLED and live.condition not in TROUBLED:
                words = f"edition {edition}, which is kept: {other.words}"
                return replace(other, words=words, checkpoint=live.checkpoint)
        return live

    def appended(self, position: Position) -> None:
        """Somebody says that the log has come to this position: look now instead of polling."""
        for one in self._projected.values():
            one.runner.appended(position)

    async def run(self) -> None:
        """Project for ever, each edition from when it is listed until it is not."""
        try:
            while True:
                try:
                    async with await self._connect() as connection:
                        await self._look(connection)
                except psycopg.OperationalError as error:
                    words = f"the database does not answer: {type(error).__name__}"
                    self._trouble = ProjectorState(condition="no connection", words=words)
                except Exception as error:
                    log.exception("projectors.unlisted")
                    words = f"{type(error).__name__}: {harmless_message(error)}"
                    self._trouble = ProjectorState(condition="stopped", words=words)
                await asyncio.sleep(_RETRY_SECONDS)
        finally:
            await end(*(one.task for one in self._projected.values()))

    async def _look(self, connection: AsyncConnection[TupleRow]) -> None:
        while True:
            cursor = await connection.execute(_LIST)
            await self._agree(dict(await cursor.fetchall()))
            await asyncio.sleep(LOOK_SECONDS)

    async def _agree(self, editions: Mapping[int, bool]) -> None:
        for edition in self._projected.keys() - editions.keys():
            log.info("projector.edition_left", edition=edition)
            await end(self._projected.pop(edition).task)
        for edition in editions.keys() - self._projected.keys():
            log.info("projector.edition_found", edition=edition)
            self._projected[edition] = self._start(edition)
        self._live = next((edition for edition, live in editions.items() if live), None)
        if self._live is None:
            self._trouble = ProjectorState(condition="stopped", words=str(NoEdition()))

    def _start(self, edition: int) -> _Projected:
        async def ring(position: Position) -> None:
            # A newer one than the live may be live by now; who is woken for nothing waits again.
            if self._live is None or edition >= self._live:
                await self._ring(position)

        def projected(events: Sequence[LogEvent], seconds: float) -> None:
            # Those that are kept beside it take in the same events once more.
            if edition == self._live:
                self._on_projected(events, seconds)

        runner = ProjectorRunner(
            self._connect,
            self._client,
            self._keyring,
            edition,
            log_id=self._log_id,
            ring=ring,
            on_projected=projected,
        )
        return _Projected(runner, asyncio.create_task(runner.run()))
