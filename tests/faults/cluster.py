"""The service on more than one machine, as processes of this one: two of each, and a balancer.

Three NATS servers keep three copies of the stream; a Postgres commits what its standby has too.
"""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

import msgspec
import nats
import nats.errors
import psycopg
from msgspec import Struct
from msgspec.structs import replace

from runtime.embedded.ports import reserved_port
from runtime.schema import migrate
from runtime.settings import Settings
from runtime.tasks import end
from tests.benchmarks.deployment import environment
from tests.faults.balancer import Balancer
from tests.faults.cluster_servers import (
    ClusterNats,
    ClusterPostgres,
    any_postgres,
    nats_servers,
    postgres_pair,
)
from tests.faults.parts import Nats, Postgres, Process
from tests.faults.system import System, with_key
from tests.support.dev import CUSTOMERS
from tests.support.signals import until

APIS: Final = ("api-1", "api-2")
RELAYS: Final = ("relay-1", "relay-2")
PROJECTORS: Final = ("projector-1", "projector-2")
DRAIN_SECONDS: Final = 1.0
STREAM: Final = "CUSTOMERS_1_1"


class PostgresNode(Postgres):
    """One of the two, which dies as a machine does: with all its sessions at once."""

    def __init__(self, server: ClusterPostgres) -> None:
        super().__init__(server)
        self.name = server.name
        self.node = server

    def kill(self) -> None:
        """SIGKILL for the server and all its sessions."""
        family = self._family()
        super().kill()
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class NatsNode(Nats):
    """One of the three."""

    def __init__(self, server: ClusterNats) -> None:
        super().__init__(server)
        self.name = server.name


class _Leading(Struct, frozen=True):
    leader: str = ""


class _State(Struct, frozen=True):
    last_seq: int = 0


class _Info(Struct, frozen=True):
    cluster: _Leading = _Leading()
    state: _State = _State()


class Cluster(System):
    """A system with two or three of everything, and no lines between them."""

    balancer: Balancer

    @property
    def url(self) -> str:
        """Where clients reach the API processes: over the balancer."""
        return f"http://127.0.0.1:{self.balancer.port}"

    @property
    def nodes(self) -> list[PostgresNode]:
        """Both Postgres servers, in the order of the address."""
        return [part for part in self.parts.values() if isinstance(part, PostgresNode)]

    @property
    def brokers(self) -> list[NatsNode]:
        """The NATS servers."""
        return [part for part in self.parts.values() if isinstance(part, NatsNode)]

    async def primary(self) -> PostgresNode:
        """The Postgres that takes writes, by the address that the processes have."""
        async with await psycopg.AsyncConnection.connect(self.settings.database_url) as connection:
            port = connection.info.port
        return next(node for node in self.nodes if node.node.port == port)

    async def stream_leader(self) -> NatsNode | None:
        """The NATS server that takes what is published; None while there is none."""
        leader = (await self._stream_info()).cluster.leader
        return next((node for node in self.brokers if node.name == leader), None)

    async def _stream_info(self) -> _Info:
        try:
            async with asyncio.timeout(3):
                client = await nats.connect(
                    [node.server.url for node in self.brokers if node.is_alive],
                    allow_reconnect=False,
                )
                try:
                    answer = await client.request(f"$JS.API.STREAM.INFO.{STREAM}", timeout=1)
                finally:
                    await client.close()
        except (nats.errors.Error, OSError, TimeoutError):
            return _Info()
        return msgspec.json.decode(answer.data, type=_Info)

    async def stream_end(self) -> int:
        """The last sequence of the stream; 0 while nobody says."""
        return (await self._stream_info()).state.last_seq

    async def is_whole(self) -> bool:
        """Whether every process serves: each API says so, and the others stand behind them."""
        return len(self.balancer.ready) == len(APIS) and await self.is_ready()

    def clock(self) -> float:
        """Seconds, to tell how long something took."""
        return asyncio.get_running_loop().time()

    async def promote(self, node: PostgresNode) -> None:
        """Have a standby be the primary, which waits for no copies."""
        await asyncio.to_thread(node.node.promote)

    async def fail_over(self) -> tuple[PostgresNode, PostgresNode]:
        """Kill the primary and have its standby be the primary; which was, and which is."""
        old = await self.primary()
        new = next(node for node in self.nodes if node is not old)
        old.is_wanted = False
        old.kill()
        await self.promote(new)
        return old, new

    async def follow(self, standby: PostgresNode, primary: PostgresNode) -> None:
        """Make one a fresh standby of the other, which then commits nothing without it."""
        await standby.stop()
        standby.node.follow(primary.node)
        await standby.start()
        await asyncio.to_thread(primary.node.demand_copies, standby.name)


@asynccontextmanager
async def a_cluster(
    folder: Path, *, seed: int, workspaces: Iterable[str] = ("acme", "globex", "acme_test")
) -> AsyncGenerator[Cluster]:
    """A cluster that is ready, in this folder, until the block ends."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    password = token_urlsafe(18)
    nodes = [PostgresNode(server) for server in postgres_pair(folder, password)]
    brokers = [NatsNode(server) for server in nats_servers(folder, password)]
    async with AsyncExitStack() as stack:
        for node in nodes:
            stack.callback(node.node.erase)
        for part in (*nodes, *brokers):
            stack.push_async_callback(part.stop)
        await nodes[0].start()
        settings = _settings(nodes, brokers)
        await asyncio.to_thread(migrate, settings)
        # Not side by side: the threads that start a server have to live as long as it.
        for broker in brokers:
            await broker.start()
        cluster = Cluster(settings, folder, seed)
        cluster.parts = {part.name: part for part in (*nodes, *brokers)}
        await cluster.follow(nodes[1], nodes[0])
        cluster.workspaces = [with_key(settings, name) for name in workspaces]
        ports = [stack.enter_context(reserved_port("127.0.0.1", 0)) for _ in APIS]
        cluster.api_port = ports[0]
        cluster.balancer = await stack.enter_async_context(Balancer(ports).opened())
        await _start_processes(cluster, ports, stack)
        await until(cluster.is_whole, 60)
        yield cluster


async def _start_processes(cluster: Cluster, ports: list[int], stack: AsyncExitStack) -> None:
    supervising = [asyncio.create_task(cluster.supervise(part)) for part in cluster.parts.values()]
    for name in (*APIS, *RELAYS, *PROJECTORS):
        kind, _, number = name.partition("-")
        settings = replace(cluster.settings, port=ports[int(number) - 1])
        part = Process(
            name,
            [*CUSTOMERS, kind],
            environment(settings),
            cluster.folder / "logs" / f"{name}.log",
        )
        cluster.parts[name] = part
        stack.push_async_callback(part.stop)
        await part.start()
        supervising.append(asyncio.create_task(cluster.supervise(part)))
    stack.push_async_callback(end, *supervising)


def _settings(nodes: list[PostgresNode], brokers: list[NatsNode]) -> Settings:
    pair = [node.node for node in nodes]
    key = "faults:" + "QUFB" * 10 + "QUE="
    return Settings(
        database_url=any_postgres(pair, dbname="postgres", target_session_attrs="read-write"),
        nats_url=",".join(broker.server.url for broker in brokers),
        stream_replicas=3,
        master_keys=key,
        signing_keys=key,
        head_seconds=5.0,
        log_format="json",
        rate_limit=0,
        drain_seconds=DRAIN_SECONDS,
    )
