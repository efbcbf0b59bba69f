"""All clients and readers of a run, from the beginning to an end in order."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from runtime.tasks import end
from tests.faults.clients import Board, Client
from tests.faults.history import History
from tests.faults.readers import FeedReader, StreamReader, following
from tests.faults.system import System
from tests.support.signals import until

FINISH_SECONDS: Final = 90.0
"""So long after the last fault may a write wait for its answer, and a reader for what it misses."""


class Pace(Struct, frozen=True, kw_only=True):
    """How much load there is."""

    clients: int = 3
    """In each workspace."""
    rest_seconds: float = 0.05
    """Between two writes of a client, on average."""


class Load:
    """Clients that write, and readers that follow."""

    def __init__(self, system: System, history: History, seed: int, pace: Pace) -> None:
        self._history = history
        self._is_over = False
        boards = {one.name: Board() for one in system.workspaces}
        self.clients = [
            Client(
                system,
                history,
                one,
                f"{one.name}-{n}",
                f"{seed}-{one.name}-{n}",
                boards[one.name],
                [board for name, board in boards.items() if name != one.name],
            )
            for one in system.workspaces
            for n in range(pace.clients)
        ]
        self.readers = [
            FeedReader(system, history, one, name)
            for one in system.workspaces
            for name in ("long poll", "event stream")
        ]
        self.stream = StreamReader(system, history)
        self._writing = [
            asyncio.create_task(client.go_on(lambda: self._is_over, pace.rest_seconds))
            for client in self.clients
        ]
        self._following = asyncio.create_task(following(self.readers, self.stream))

    async def finish(self) -> None:
        """Let every client bring to its end what it began, and repeat some of it."""
        self._is_over = True
        _, waiting = await asyncio.wait(self._writing, timeout=FINISH_SECONDS)
        for task in waiting:
            name = self.clients[self._writing.index(task)].name
            words = f"{name} still has no answer after {FINISH_SECONDS:.0f} s without a fault"
            self._history.violated("answered", words, name)
        await end(*waiting)
        for task in self._writing:
            if not task.cancelled():
                task.result()
        async with asyncio.timeout(FINISH_SECONDS):
            await asyncio.gather(*(client.repeat() for client in self.clients))

    async def readers_reach(self, sequences: dict[str, int], end_of_stream: int) -> None:
        """Wait until the readers have seen this many events of each workspace, and all messages."""

        def have() -> bool:
            return self.stream.sequence >= end_of_stream and not self._behind(sequences)

        if self._following.done():
            self._following.result()
        try:
            await until(have, FINISH_SECONDS)
        except TimeoutError:
            words = f"saw no further: {self._behind(sequences)}, JetStream {self.stream.sequence}"
            self._history.violated("order", f"readers {words} of {sequences}, {end_of_stream}")

    def account_for_holes(self, erased: set[int]) -> None:
        """Whoever followed JetStream missed nothing but what was erased."""
        missed = sorted(set(self.stream.holes) - erased)
        if missed:
            words = f"whoever followed JetStream was never shown {missed}"
            self._history.violated("order", f"{words}, and no erasure accounts for that")

    def _behind(self, sequences: dict[str, int]) -> list[str]:
        return [
            f"{reader.order.name} at {reader.order.sequence}"
            for reader in self.readers
            if reader.order.sequence < sequences.get(reader.order.workspace, 0)
        ]

    async def close(self) -> None:
        """End everything at once."""
        await end(*self._writing, self._following)
        for client in self.clients:
            await client.close()


@asynccontextmanager
async def loaded(
    system: System, history: History, *, seed: int, pace: Pace | None = None
) -> AsyncGenerator[Load]:
    """Load until the block ends, or `finish` says so."""
    load = Load(system, history, seed, pace or Pace())
    try:
        yield load
    finally:
        await load.close()
