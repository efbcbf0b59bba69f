"""Faults of processes: each is killed, paused and restarted; the servers too."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.faults.faults import Fault, register
from tests.faults.parts import away, killed
from tests.faults.system import PROCESSES, System


def _killing(name: str) -> Fault:
    about = f"kill -9 of {name}, which stays away for a while"
    return Fault(name=f"kill-{name}", about=about, inject=lambda system: killed(system.parts[name]))


def _blinking(name: str) -> Fault:
    @asynccontextmanager
    async def inject(system: System) -> AsyncGenerator[None]:
        system.parts[name].kill()
        yield

    about = f"kill -9 of {name}, which is started again at once"
    return Fault(name=f"blink-{name}", about=about, inject=inject)


def _pausing(name: str) -> Fault:
    @asynccontextmanager
    async def inject(system: System) -> AsyncGenerator[None]:
        part = system.parts[name]
        part.pause()
        try:
            yield
        finally:
            part.resume()

    about = f"{name} stands still (SIGSTOP) and goes on where it was"
    return Fault(name=f"pause-{name}", about=about, inject=inject, longest=30.0)


def _restarting(name: str) -> Fault:
    @asynccontextmanager
    async def inject(system: System) -> AsyncGenerator[None]:
        await system.parts[name].restart()
        yield

    about = f"{name} is ended in order and started again"
    return Fault(name=f"restart-{name}", about=about, inject=inject, longest=2.0)


for _name in (*PROCESSES, "postgres", "nats"):
    register(_killing(_name), _blinking(_name), _pausing(_name), _restarting(_name))
register(
    Fault(
        name="crash-postgres",
        about="Postgres is shut down at once (SIGQUIT) and recovers from its WAL",
        inject=lambda system: away(system.postgres, system.postgres.crash),
    )
)
