"""Read your own writes: a read waits until the read model shows what its workspace has written."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

import psycopg
import structlog

from events.envelope import Position
from query_side.queries import Answer, NoReadModel

# While somebody waits, the checkpoint is looked at beside the projector's pings, which may be lost.
_POLL_SECONDS: Final = 0.05
_POLL_SECONDS_WITHOUT_NATS: Final = 0.01

AnswerT = TypeVar("AnswerT", bound=Answer)
log = structlog.get_logger()


class Freshness:
    """Knows how far the read model is, and wakes the reads that wait for a position.

    `is_rung` says whether the projector's pings can arrive, that is, whether NATS is connected.
    """

    def __init__(
        self, read_checkpoint: Callable[[], Awaitable[Position]], is_rung: Callable[[], bool]
    ) -> None:
        self._read_checkpoint = read_checkpoint
        self._is_rung = is_rung
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
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            del self._waiting[future]
        return True

    async def read(
        self, ask: Callable[[], Awaitable[AnswerT]], wait_seconds: float
    ) -> tuple[AnswerT, bool]:
        """An answer that shows every write that had answered before, and whether it may be stale.

        Past the wait the answer is what there is. A parked customer does not get any fresher.
        """
        answer = await ask()
        if not answer.is_behind:
            return answer, answer.parked
        wanted = answer.newest
        now = asyncio.get_running_loop().time
        deadline = now() + wait_seconds
        while await self.wait_for(wanted, deadline - now()):
            answer = await ask()
            if answer.checkpoint >= wanted:
                return answer, answer.parked
            # What was known of the read model is not so, or no longer.
            self._position = answer.checkpoint
        return answer, True

    @asynccontextmanager
    async def polling(self) -> AsyncGenerator[None]:
        """Look at the checkpoint while somebody waits, as long as the block runs."""
        running = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def _poll(self) -> None:
        while True:
            if not self._waiting:
                self._somebody_waits.clear()
                await self._somebody_waits.wait()
            await asyncio.sleep(_POLL_SECONDS if self._is_rung() else _POLL_SECONDS_WITHOUT_NATS)
            try:
                self.projected(await self._read_checkpoint())
            except (psycopg.Error, NoReadModel) as error:
                # Those who wait find out by themselves when they ask again.
                log.warning("freshness.checkpoint_unread", error=type(error).__name__)
