"""Those that are measured, each started as it is deployed: ours, the peer, and bare frameworks."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import psycopg
from msgspec import Struct
from nats.js.errors import NotFoundError

from events.append import Appended
from events.envelope import WorkspaceId
from events.jetstream import stream_name
from events.keys import Keyring
from events.log import PostgresLog
from runtime.api_keys import issue_key
from runtime.embedded import children
from runtime.embedded.ports import free_port
from runtime.nats_access import connected_once
from runtime.postgres import Role, connect_as_owner, make_pool
from runtime.settings import Settings, read_master_keys
from tests.benchmarks.data import customer_data
from tests.benchmarks.deployment import a_process, announced_port, spawned
from tests.benchmarks.load import Client, run
from tests.support.builders import Writer, created
from tests.support.dev import clean_environment
from tests.support.signals import turns, until

CUSTOMERS_PATH: Final = "/api/v1/external/customers"
WORKSPACE: Final = WorkspaceId("acme")
_BATCH: Final = 500
_START_SECONDS: Final = 60.0
_CATCH_UP_SECONDS: Final = 600.0
# One statement, one snapshot.
_BEHIND: Final = """
SELECT coalesce((SELECT max(position) FROM log.events WHERE log_id = %(log)s), 0)
     - coalesce((SELECT position FROM projections.checkpoints WHERE log_id = %(log)s AND live), 0)
"""
_HEAD: Final = "SELECT coalesce(max(position), 0) FROM log.events WHERE log_id = %s"


class Service(Struct, frozen=True, kw_only=True):
    """One that runs and answers."""

    port: int
    key: str
    pids: dict[str, int]

    @property
    def url(self) -> str:
        """Where its customers are."""
        return f"http://127.0.0.1:{self.port}{CUSTOMERS_PATH}"

    def client(self) -> Client:
        """Asks it; open it inside a running loop."""
        return Client(self.port, self.key)

    def total(self) -> int:
        """How many customers it has."""

        async def ask() -> bytes:
            async with self.client() as client:
                return await client.get(f"{CUSTOMERS_PATH}?per_page=1")

        return total_of(run(ask()))


def total_of(answer: bytes) -> int:
    """How many customers there are, by a list."""
    return int(msgspec.json.decode(answer)["meta"]["total"])


@contextmanager
def ours(settings: Settings, logs: Path) -> Generator[Service]:
    """Our API, relay and projector, once all of the log is published and in the read model."""
    with connect_as_owner(settings, "benchmark keys") as owner:
        key = issue_key(owner, workspace=WORKSPACE).key
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(
                a_process(settings, *command, log=stack.enter_context(_log(logs, name)))
            )
            for name, *command in (
                ("api", "api", "--port", "0"),
                ("relay", "relay"),
                ("projector", "projector"),
            )
        }
        port = announced_port(started["api"])
        pids = {name: process.pid for name, process in started.items()}
        wait_caught_up(settings)
        yield Service(port=port, key=key, pids=pids)


@contextmanager
def the_peer(database_url: str, key: str, logs: Path) -> Generator[Service]:
    """The conventional service, by uvicorn at its best."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.benchmarks.peer:app"]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    command += ["--log-level", "warning", "--port", str(port)]
    environ = clean_environment() | {"PEER_DATABASE_URL": database_url}
    with _log(logs, "peer") as log, spawned(command, environ, log) as process:
        service = Service(port=port, key=key, pids={"peer": process.pid})
        run(_answering(service, process))
        yield service


@contextmanager
def the_bare(logs: Path) -> Generator[Service]:
    """Handlers that do nothing."""
    command = [sys.executable, "-m", "tests.benchmarks.bare"]
    with _log(logs, "bare") as log, spawned(command, clean_environment(), log) as process:
        yield Service(port=announced_port(process), key="", pids={"bare": process.pid})


async def seed(settings: Settings, customers: int) -> None:
    """Append one event for each of so many customers of data.py, in their order."""
    keyring = Keyring(read_master_keys(settings))
    numbers = iter(range(customers))
    async with make_pool(settings, Role.API, "benchmark", size=1) as pool:
        log = PostgresLog(pool, settings.log_id)
        appending: asyncio.Task[Any] | None = None
        while batch := list(islice(numbers, _BATCH)):
            # A batch is made while the one before is appended.
            group = _creations(keyring, batch)
            await _appended(appending)
            appending = asyncio.create_task(log.append([group]))
            await turns(5)
        await _appended(appending)


def _creations(keyring: Keyring, numbers: list[int]) -> Any:
    writer = Writer(keyring, WORKSPACE)
    made = [(writer.a_customer(), customer_data(number)) for number in numbers]
    return writer.group(
        *(writer.event(customer_id, 1, created(data)) for customer_id, data in made),
        takes={data.external_id or "": customer_id for customer_id, data in made},
    )


async def _appended(appending: "asyncio.Task[Any] | None") -> None:
    if appending is not None:
        (outcome,) = await appending
        assert isinstance(outcome, Appended), outcome


def wait_caught_up(settings: Settings) -> float:
    """Seconds until the read model, and then the stream, hold all of the log; of the read model."""
    began = time.perf_counter()
    with connect_as_owner(settings, "benchmark") as owner:

        def is_caught_up() -> bool:
            return owner.execute(_BEHIND, {"log": settings.log_id}).fetchone() == (0,)

        assert children.wait_until(is_caught_up, _CATCH_UP_SECONDS), "the projector is too slow"
        seconds = time.perf_counter() - began
        (head,) = owner.execute(_HEAD, [settings.log_id]).fetchone() or (0,)
    run(_published(settings, head))
    return seconds


async def _published(settings: Settings, head: int) -> None:
    if not head:
        return
    async with connected_once(settings, "benchmark") as client:
        stream = client.jetstream()

        async def is_there() -> bool:
            # The relay makes it as soon as it runs.
            with suppress(NotFoundError):
                info = await stream.stream_info(stream_name(settings.log_id, 1))
                return info.state.last_seq >= head
            return False

        await until(is_there, _CATCH_UP_SECONDS)


async def _answering(service: Service, process: "subprocess.Popen[bytes]") -> None:
    async def answers() -> bool:
        assert process.poll() is None, "the peer ended at its start, and its log says why"
        try:
            async with service.client() as client:
                await client.get(f"{CUSTOMERS_PATH}?per_page=1")
        except OSError:
            return False
        return True

    await until(answers, _START_SECONDS)


@contextmanager
def _log(logs: Path, name: str) -> Generator[IO[bytes]]:
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab") as log:
        yield log


def resident_megabytes(pid: int) -> float:
    """What a process holds in memory now, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1_000_000


def quiet(database_url: str) -> None:
    """Let Postgres write down what it has, so that nobody pays for whoever was before."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("CHECKPOINT")


def tidy(database_url: str) -> None:
    """Vacuum and analyse now, as is done by itself some time after so many new rows."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE")
