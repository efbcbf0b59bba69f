"""Clocks that are set, forwards and back: of Postgres' machine, and of each process of ours.

libfaketime tells each of them another time; the clock of this machine stays as it is. Time that
passes is not touched: only what the wall clock shows.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.faults.faults import Fault, register
from tests.faults.parts import Process
from tests.faults.system import System
from tests.support.signals import lapse, until

_LIBRARIES: Final = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
)
_STEPS: Final = (-7200, -300, -30, -2, 2, 30, 300, 7200)
"""Seconds by which a clock is set."""


def lacking() -> str:
    """Why no clock can be set here."""
    return "" if _library() else "there is no libfaketime here (package faketime)"


def _library() -> str:
    return next((path for path in _LIBRARIES if Path(path).exists()), "")


class Clock:
    """What one part takes for the time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, seconds: int) -> None:
        """Be so many seconds ahead from now on."""
        # In one go: nobody may read half of it.
        aside = self.path.with_suffix(".new")
        aside.write_text(f"{seconds:+d}\n", encoding="ascii")
        aside.chmod(0o644)
        aside.replace(self.path)

    @property
    def environ(self) -> dict[str, str]:
        """What makes a process go by it."""
        return {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


@asynccontextmanager
async def _stepping(system: System) -> AsyncGenerator[None]:
    """One clock after the other is set, a few times a second or so, until all are right again."""
    folder = system.folder / "clocks"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    clocks = {name: Clock(folder / name) for name in system.parts if name != "nats"}
    async with _postgres_goes_by(system, clocks["postgres"]):
        processes = [part for part in system.parts.values() if isinstance(part, Process)]
        for process in processes:
            process.environ |= clocks[process.name].environ
            await process.restart()
        try:
            await until(system.is_ready, 60)
            for clock in clocks.values():
                clock.set(system.chance.choice(_STEPS))
                await lapse(0.3)
            yield
        finally:
            for clock in clocks.values():
                clock.set(0)
            for process in processes:
                for name in clocks[process.name].environ:
                    del process.environ[name]
                await process.restart()


@asynccontextmanager
async def _postgres_goes_by(system: System, clock: Clock) -> AsyncGenerator[None]:
    """Start Postgres by a script that has it go by the clock, and in the end as before."""
    server = system.postgres.server
    real = server._programs  # pyright: ignore[reportPrivateUsage] - how it is started is nobody else's affair
    folder = system.folder / "faked-programs"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    script = folder / "postgres"
    exports = " ".join(f"{name}='{text}'" for name, text in clock.environ.items())
    script.write_text(f'#!/bin/sh\nexec env {exports} {real}/postgres "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    server._programs = folder  # pyright: ignore[reportPrivateUsage] - see above
    await system.postgres.restart()
    try:
        yield
    finally:
        server._programs = real  # pyright: ignore[reportPrivateUsage] - see above
        await system.postgres.restart()


register(
    Fault(
        name="clock-steps",
        about="The clocks of Postgres and of each process are set forwards and back",
        inject=_stepping,
        shortest=5.0,
        longest=15.0,
        lacking=lacking,
        is_alone=True,
    )
)
