"""Read your own writes: a read waits until the read model shows what its workspace has written.

A consistency token demands more: the read shows the place that it names, or fails.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import psycopg
import structlog
from msgspec import Struct

from events.envelope import Position
from events.token import Token
from query_side.queries import NoReadModel
from query_side.results import FoundT
from runtime.places import aside
from runtime.tasks import end

# While somebody waits, the checkpoint is looked at beside the projector's pings, which may be lost.
_POLL_SECONDS: Final = 0.05
_POLL_SECONDS_WITHOUT_NATS: Final = 0.01

log = structlog.get_logger()


class Demand(Struct, frozen=True, kw_only=True):
    """How fresh an answer must be."""

    eventual: bool = False
    """Whether it may miss what the workspace wrote; what the token names it must show."""
    token: Token | None = None


class NotShownYet(Exception):
    """The read model did not come to the place that a consistency token names in time."""

    def __init__(self) -> None:
        super().__init__(
            "What this X-Consistency-Token is about is written, but reads do not show it yet. "
            "Try again, or read without the token."
        )


class Freshness:
    """Knows how far the read model is, and wakes the reads that wait for a position.

    `can_hear_pings` says whether the projector's pings can arrive: whether NATS is connected.
    """

    def __init__(
        self, read_checkpoint: Callable[[], Awaitable[Position]], can_hear_pings: Callable[[], bool]
    ) -> None:
        self._read_checkpoint = read_checkpoint
        self._can_hear_pings = can_hear_pings
        self._position = Position(0)
        self._waiting: dict[asyncio.Future[None], Position] = {}
        self._somebody_waits = asyncio.Event()

    def projected(self, position: Position) -> None:
        """The read model has come to this position."""
        if position > self._position:
            self._position = position
            for future, wanted in self._waiting.items():
                if wanted <= position and not future.done():
                    future.set_result(None)

    async def wait_for(self, position: Position, seconds: float) -> bool:
        """Wait until the read model has come to a position; False when it did not in time."""
        if seconds <= 0:
            return False
        if self._position >= position:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = position
        self._somebody_waits.set()
        try:
            async with aside(), asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            del self._waiting[future]
        return True

    async def read(
        self, ask: Callable[[], Awaitable[FoundT]], demand: Demand, wait_seconds: float
    ) -> tuple[FoundT, bool]:
        """An answer that shows every earlier write, and whether it may be stale.

        Past the wait it is the newest there is, and NotShownYet is raised when that is older than
        the token demands. A parked customer is not waited for.
        """
        found = await ask()
        newest = found.newest
        demanded = Position(0) if demand.token is None else demand.token.position
        wanted = demanded if demand.eventual else max(newest, demanded)
        now = asyncio.get_running_loop().time
        deadline = now() + wait_seconds
        while found.checkpoint < wanted and await self.wait_for(wanted, deadline - now()):
            found = await ask()
            if found.checkpoint < wanted:
                # The checkpoint is lower than remembered; forget that.
                self._position = found.checkpoint
        if found.checkpoint < demanded:
            raise NotShownYet
        return found, found.parked or found.checkpoint < newest

    @asynccontextmanager
    async def polling(self) -> AsyncGenerator[None]:
        """Look at the checkpoint while somebody waits, as long as the block runs."""
        running = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            await end(running)

    async def _poll(self) -> None:
        while True:
            if not self._waiting:
                self._somebody_waits.clear()
                await self._somebody_waits.wait()
            await asyncio.sleep(
                _POLL_SECONDS if self._can_hear_pings() else _POLL_SECONDS_WITHOUT_NATS
            )
            try:
                self.projected(await self._read_checkpoint())
            except (psycopg.Error, NoReadModel) as error:
                # Those who wait find out by themselves when they ask again.
                log.warning("freshness.checkpoint_unread", error=type(error).__name__)
