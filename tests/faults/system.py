"""The service as it runs for real: processes and servers of its own, a line between any two."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import Final
from urllib.parse import urlsplit

import httpx
from msgspec import Struct
from msgspec.structs import replace
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.api_keys import issue_key
from runtime.embedded import EmbeddedNats, EmbeddedPostgres, make_folder
from runtime.embedded.ports import reserved_port
from runtime.failure import Failure
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from runtime.tasks import end
from tests.benchmarks.deployment import a_service, environment
from tests.faults.lines import Line
from tests.faults.parts import Nats, Part, Postgres, Process
from tests.support.dev import CUSTOMERS
from tests.support.signals import lapse, until

PROCESSES: Final = ("api", "relay-1", "relay-2", "projector-1", "projector-2")
SERVERS: Final = ("postgres", "nats")
_LOOK_SECONDS: Final = 0.1
_AGAIN_SECONDS: Final = 0.5


class Workspace(Struct, frozen=True, kw_only=True):
    """A data space that has load, and a key to it."""

    name: str
    key: str


class System:
    """Every part by its name, and the lines between them; what dies is started again."""

    def __init__(self, settings: Settings, folder: Path, seed: int) -> None:
        self.settings = settings
        """How the checks reach the servers: past every line."""
        self.generation = 1
        """Which lineage of the log is current; a fault that begins another one says so here."""
        self.parks = False
        """Whether a fault has customers parked, so that reads may say of any that it is stale."""
        self.folder = folder
        self.chance = random.Random(seed)  # noqa: S311 - faults to repeat, not a secret
        self.workspaces: list[Workspace] = []
        self.parts: dict[str, Part] = {}
        self.all_lines: dict[tuple[str, str], Line] = {}
        self.api_port = 0
        """Where the API listens, past every line."""

    def process(self, name: str) -> Process:
        """A process of the service: api, relay-1, relay-2, projector-1, projector-2."""
        part = self.parts[name]
        assert isinstance(part, Process)
        return part

    @property
    def postgres(self) -> Postgres:
        """The database server."""
        part = self.parts["postgres"]
        assert isinstance(part, Postgres)
        return part

    @property
    def nats(self) -> Nats:
        """The broker."""
        part = self.parts["nats"]
        assert isinstance(part, Nats)
        return part

    def line(self, one: str, other: str) -> Line:
        """The line from a process, or `client`, to a server, or `api`."""
        return self.all_lines[one, other]

    def lines(self, kind: str, other: str) -> list[Line]:
        """The lines from one process, or all of a kind, such as both relays, to a server."""
        return [
            line
            for (one, to), line in self.all_lines.items()
            if to == other and kind in {one, one.partition("-")[0]}
        ]

    @property
    def url(self) -> str:
        """Where clients reach the API: over their line."""
        line = self.line("client", "api")
        return f"http://{line.host}:{line.port}"

    @property
    def ended_unasked(self) -> list[str]:
        """Which processes of the service ended though nobody ended them, and how."""
        return [
            f"{one.name} ended by itself, with status {one.status}"
            for part in self.parts.values()
            for one in part.ends
            if isinstance(part, Process) and not one.was_asked
        ]

    def must_answer(self, seconds: float) -> bool:
        """Whether for so long nothing has kept the API from telling its clients how it stands."""
        apis = [part for name, part in self.parts.items() if name.startswith("api")]
        lines = [line for (_, to), line in self.all_lines.items() if to == "api"]
        return all(part.runs_since(seconds) for part in apis) and all(
            line.is_whole_since(seconds) for line in lines
        )

    async def is_ready(self) -> bool:
        """Whether all of it works: every check of /health/ready, past the client's line."""
        return not await self.unwell()

    async def unwell(self) -> str:
        """What /health/ready says is not well, and why; empty when all is."""
        try:
            async with httpx.AsyncClient(timeout=5) as client:
                answer = await client.get(f"http://127.0.0.1:{self.api_port}/health/ready")
        except httpx.HTTPError as error:
            return f"it does not answer: {type(error).__name__}"
        checks: dict[str, dict[str, str]] = answer.json()["checks"]
        failed = [f"{name}: {check['detail']}" for name, check in checks.items() if not check["ok"]]
        return "; ".join(failed) or ("" if answer.status_code == 200 else answer.text)

    async def supervise(self, part: Part) -> None:
        """Start a part again whenever it is dead and wanted."""
        while True:
            await lapse(_LOOK_SECONDS)
            if part.is_wanted and not part.is_alive:
                try:
                    await part.start()
                except Failure as failure:
                    with (self.folder / "logs" / "failures.log").open("a") as told:
                        told.write(f"{part.name}: {failure}\n")
                await lapse(_AGAIN_SECONDS)


@asynccontextmanager
async def a_system(
    folder: Path,
    *,
    seed: int,
    workspaces: Iterable[str] = ("acme", "globex", "acme_test"),
    change: Callable[[Settings], Settings] = lambda settings: settings,
    postgres: EmbeddedPostgres | None = None,
    nats: EmbeddedNats | None = None,
) -> AsyncGenerator[System]:
    """A system that is ready, in this folder, until the block ends.

    `change` makes other settings for the processes; servers that are given are started and ended.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    make_folder(folder / "nats-data")
    database = Postgres(postgres or EmbeddedPostgres(folder, password=token_urlsafe(18)))
    broker = Nats(nats or EmbeddedNats(folder / "nats-data", password=token_urlsafe(18)))
    async with AsyncExitStack() as stack:
        stack.callback(database.server.erase)
        for server in (database, broker):
            stack.push_async_callback(server.stop)
            await server.start()
        settings = change(_made_ready(database.server, broker.server))
        system = System(settings, folder, seed)
        system.workspaces = [with_key(settings, name) for name in workspaces]
        system.api_port = stack.enter_context(reserved_port("127.0.0.1", 0))
        await _lay_lines(system, stack)
        system.parts = {"postgres": database, "nats": broker}
        for name in PROCESSES:
            system.parts[name] = _a_process(system, name)
        supervising = [
            asyncio.create_task(system.supervise(part)) for part in system.parts.values()
        ]
        for name in PROCESSES:
            stack.push_async_callback(system.parts[name].stop)
            await system.parts[name].start()
        stack.push_async_callback(end, *supervising)
        stack.callback(_heal, system)
        await until(system.is_ready, 60)
        yield system


def _made_ready(postgres: EmbeddedPostgres, nats: EmbeddedNats) -> Settings:
    settings = a_service(postgres, nats, "customers")
    signing = settings.master_keys.partition(":")[2]
    # Heads are signed often, so that each run has many.
    return replace(settings, log_level="info", signing_keys=f"faults:{signing}", head_seconds=5.0)


def with_key(settings: Settings, name: str) -> Workspace:
    """A data space with a new key to it."""
    workspace = name.removesuffix("_test")
    with connect_as_owner(settings, "faults keys") as owner:
        made = issue_key(owner, workspace=workspace, test=name != workspace)
    return Workspace(name=name, key=made.key)


async def _lay_lines(system: System, stack: AsyncExitStack) -> None:
    for one, other, host, port in _ways(system):
        line = Line(f"{one}-{other}", host, port)
        system.all_lines[one, other] = await stack.enter_async_context(line.opened())


def _ways(system: System) -> Iterable[tuple[str, str, str, int]]:
    target = conninfo_to_dict(system.settings.database_url)
    broker = urlsplit(system.settings.nats_url)
    yield "client", "api", "127.0.0.1", system.api_port
    for name in PROCESSES:
        yield name, "postgres", str(target["host"]), int(str(target["port"]))
        yield name, "nats", str(broker.hostname), int(broker.port or 4222)


def over_lines(settings: Settings, postgres: Line, nats: Line) -> Settings:
    """The settings of a process that reaches its servers over these lines."""
    target = urlsplit(settings.nats_url)
    user = target.netloc.rpartition("@")[0]
    return replace(
        settings,
        database_url=make_conninfo(settings.database_url, host=postgres.host, port=postgres.port),
        nats_url=target._replace(netloc=f"{user}@{nats.host}:{nats.port}").geturl(),
    )


def _a_process(system: System, name: str) -> Process:
    settings = over_lines(system.settings, system.line(name, "postgres"), system.line(name, "nats"))
    settings = replace(settings, port=system.api_port)
    return Process(
        name,
        [*CUSTOMERS, name.partition("-")[0]],
        environment(settings),
        system.folder / "logs" / f"{name}.log",
    )


def _heal(system: System) -> None:
    for line in system.all_lines.values():
        line.heal()
    for part in system.parts.values():
        part.resume()
