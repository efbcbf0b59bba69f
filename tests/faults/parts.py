"""The parts of a system that a fault may kill, pause or stop: our processes and the two servers."""

import asyncio
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from runtime.embedded import EmbeddedNats, EmbeddedPostgres, children

_ORDERLY_SECONDS: Final = 20.0


class End(Struct, frozen=True, kw_only=True):
    """How a part ended once."""

    name: str
    status: int
    was_asked: bool
    """Whether a fault or the harness ended it; who ends by itself has failed."""


class Part(ABC):
    """A process that can be ended and is started again, unless `is_wanted` says otherwise."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_wanted = True
        """Whether the system starts it again when it is dead."""
        self.ends: list[End] = []
        self._running: subprocess.Popen[bytes] | None = None
        self._is_asked = False
        self._paused: list[int] = []
        self._touched_at = time.monotonic()
        # One who starts it and one who ends it take turns.
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int:
        """The process; it has one once it was started."""
        assert self._running is not None
        return self._running.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs, paused or not."""
        if self._running is None:
            return False
        status = self._running.poll()
        if status is None:
            return True
        self.ends.append(End(name=self.name, status=status, was_asked=self._is_asked))
        self._running = None
        return False

    def runs_since(self, seconds: float) -> bool:
        """Whether it has run for so long, and nobody has done anything to it."""
        is_left_alone = time.monotonic() - self._touched_at > seconds
        return is_left_alone and self.is_alive and not self._paused

    async def start(self) -> None:
        """Start it; a server is ready then, and a process of ours says so later by itself."""
        async with self._turn:
            if not self.is_alive:
                self._running, self._is_asked = await self._start(), False
                self._touched_at = time.monotonic()
            self.is_wanted = True

    @abstractmethod
    async def _start(self) -> subprocess.Popen[bytes]: ...

    def kill(self) -> None:
        """SIGKILL, as a crash of it would be."""
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it stands still, and keeps every connection."""
        self._paused = self._family()
        for pid in self._paused:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        for pid in reversed(self._paused):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._paused = []
        self._touched_at = time.monotonic()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it in order and wait for that; it is not started again before `start`."""
        self.is_wanted = False
        self.resume()
        async with self._turn:
            if self._running is not None and self.is_alive:
                self._is_asked = True
                await asyncio.to_thread(children.stop, self._running, (number, _ORDERLY_SECONDS))
            assert not self.is_alive

    async def restart(self) -> None:
        """End it in order and start it again."""
        await self.stop()
        await self.start()

    def _signal(self, number: signal.Signals) -> None:
        if self._running is not None and self.is_alive:
            self._is_asked = True
            self._running.send_signal(number)

    def _family(self) -> list[int]:
        return [self.pid] if self._running is not None and self.is_alive else []


class Process(Part):
    """A process of the service."""

    def __init__(
        self, name: str, command: Sequence[str], environ: Mapping[str, str], log: Path
    ) -> None:
        super().__init__(name)
        self.command = command
        self.environ = dict(environ)
        self.log = log

    async def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return children.spawn(
                self.command,
                env=self.environ,
                death_signal=signal.SIGTERM,
                stdout=log.fileno(),
                stderr=log.fileno(),
            )


class Postgres(Part):
    """The Postgres server with all its sessions."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        super().__init__("postgres")
        self.server = server

    async def _start(self) -> subprocess.Popen[bytes]:
        self.server.launch()
        # A thread of the loop's lives as long as the loop, and so may be a parent too.
        return await asyncio.to_thread(self.server.wait_ready)

    def crash(self) -> None:
        """SIGQUIT: an immediate shutdown, after which it recovers from its WAL."""
        self._signal(signal.SIGQUIT)

    async def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """A fast shutdown: sessions are cut, everything is written down."""
        await super().stop(number)

    def _family(self) -> list[int]:
        """The postmaster first, so that it starts no other meanwhile."""
        own = super()._family()
        return own + [child for pid in own for child in _children_of(pid)]


class Nats(Part):
    """The NATS server."""

    def __init__(self, server: EmbeddedNats) -> None:
        super().__init__("nats")
        self.server = server

    async def _start(self) -> subprocess.Popen[bytes]:
        self.server.launch()
        return await asyncio.to_thread(self.server.wait_ready)


def _children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


@asynccontextmanager
async def away(part: Part, end: Callable[[], None]) -> AsyncGenerator[None]:
    """End a part, and have nobody start it before the block is over."""
    part.is_wanted = False
    end()
    try:
        yield
    finally:
        await part.start()


def killed(part: Part) -> AbstractAsyncContextManager[None]:
    """`away` by kill -9."""
    return away(part, part.kill)
