"""Wakes whoever waits for an event of a workspace: one look for all, and no connection held.

A look follows each ping after an append, and each half second: pings may be lost, or NATS be away.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import psycopg
import structlog

from events.envelope import WorkspaceId
from events.feed import FeedPlace
from runtime.places import aside
from runtime.tasks import end
from runtime.waiting import is_set_within

_POLL_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 0.02
"""Between two looks, however often it rings: all that happens meanwhile is found by the second."""
_CHECK_SECONDS: Final = 0.5

log = structlog.get_logger()


class Waiter:
    """Somebody who knows a workspace's events up to a place, and waits for what follows."""

    def __init__(self, place: FeedPlace) -> None:
        self.place = place
        self._woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """There is something to read, or nothing to wait for any more."""
        if not self._woken.done():
            self._woken.set_result(None)

    async def wait(self, seconds: float, check: Callable[[], Awaitable[None]]) -> bool:
        """Wait to be woken; False when nobody did in time.

        `check` is called now and then, and in the end: what it raises ends the waiting.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        async with aside():
            while not self._woken.done() and now() < deadline:
                await asyncio.wait({self._woken}, timeout=min(_CHECK_SECONDS, deadline - now()))
                await check()
        return self._woken.done()


class Arrivals:
    """Knows who waits for events of which workspace, and looks for all of them together."""

    def __init__(
        self,
        find_ends: Callable[[Sequence[WorkspaceId]], Awaitable[dict[WorkspaceId, FeedPlace]]],
    ) -> None:
        self._find_ends = find_ends
        self._waiting: dict[WorkspaceId, set[Waiter]] = {}
        self._somebody_waits = asyncio.Event()
        self._rung = asyncio.Event()
        self.is_over = False
        """Whether the process stops: nobody waits any more."""

    def ring(self) -> None:
        """Something was appended, whosever it is."""
        self._rung.set()

    @contextmanager
    def expecting(self, workspace_id: WorkspaceId, place: FeedPlace) -> Generator[Waiter]:
        """Be woken by what comes behind this place while the block runs.

        Read in the block before you wait: then nothing comes between the two.
        """
        waiter = Waiter(place)
        others = self._waiting.setdefault(workspace_id, set())
        others.add(waiter)
        self._somebody_waits.set()
        if self.is_over:
            waiter.wake()
        try:
            yield waiter
        finally:
            others.discard(waiter)
            if not others and self._waiting.get(workspace_id) is others:
                del self._waiting[workspace_id]

    @asynccontextmanager
    async def looking(self, stop: asyncio.Event) -> AsyncGenerator[None]:
        """Look out while the block runs; from `stop` on nobody waits."""
        tasks = [asyncio.create_task(self._look_out()), asyncio.create_task(self._end_when(stop))]
        try:
            yield
        finally:
            await end(*tasks)

    async def _end_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.is_over = True
        for everybody in self._waiting.values():
            for waiter in everybody:
                waiter.wake()

    async def _look_out(self) -> None:
        while True:
            if not self._waiting:
                self._somebody_waits.clear()
                await self._somebody_waits.wait()
            await is_set_within(self._rung, _POLL_SECONDS)
            self._rung.clear()
            try:
                await self._look()
            except psycopg.Error as error:
                # Those who wait find out by themselves when they read.
                log.warning("arrivals.unseen", error=type(error).__name__)
            except Exception:
                # Without looks nobody would be woken any more, and nobody would know.
                log.exception("arrivals.unseen")
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _look(self) -> None:
        waiting = {workspace: set(everybody) for workspace, everybody in self._waiting.items()}
        ends = await self._find_ends(list(waiting))
        for workspace_id, everybody in waiting.items():
            for waiter in everybody:
                # Not only when there is more: a history that was lost is to be noticed as well.
                if ends[workspace_id] != waiter.place:
                    waiter.wake()
