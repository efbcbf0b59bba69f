"""Faults of a cluster: a leader dies, the primary fails over, everything is restarted in turn."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from tests.faults.cluster import APIS, PROJECTORS, RELAYS, Cluster
from tests.faults.faults import Fault, register
from tests.faults.parts import killed
from tests.faults.system import System
from tests.support.signals import lapse, until

PUBLISHING_SECONDS: Final = 30.0
"""Within so long it publishes again; what it takes on a machine that is not busy is less."""


@asynccontextmanager
async def without_nats_leader(cluster: Cluster) -> AsyncGenerator[float]:
    """Kill the NATS server that leads the stream; how long it took until events came again."""
    await until(lambda: _has_leader(cluster))
    leader = await cluster.stream_leader()
    assert leader is not None
    before = await cluster.stream_end()
    clock = cluster.clock()
    leader.is_wanted = False
    leader.kill()

    async def publishes() -> bool:
        return await cluster.stream_end() > before and await cluster.stream_leader() is not leader

    try:
        await until(publishes, PUBLISHING_SECONDS)
        yield cluster.clock() - clock
    finally:
        await leader.start()


@asynccontextmanager
async def failed_over(cluster: Cluster) -> AsyncGenerator[None]:
    """Kill the primary and promote its standby; later the old one is a standby of the new."""
    old, new = await cluster.fail_over()
    try:
        yield
    finally:
        await cluster.follow(old, new)


@asynccontextmanager
async def _with_zombie(cluster: Cluster) -> AsyncGenerator[None]:
    async with failed_over(cluster):
        old = next(node for node in cluster.nodes if not node.is_alive)
        await old.start()
        # Who is new knows of no failover, and is told both addresses, the old one perhaps first.
        for name in (APIS[0], RELAYS[0], PROJECTORS[0]):
            await cluster.parts[name].restart()
        yield


@asynccontextmanager
async def _with_lagging_standby(cluster: Cluster) -> AsyncGenerator[None]:
    old = await cluster.primary()
    new = next(node for node in cluster.nodes if node is not old)
    new.is_wanted = False
    new.kill()
    # What is written now is on the primary alone; after its crash it is there for all to see.
    await lapse(1.0)
    old.crash()
    try:
        yield
    finally:
        old.is_wanted = False
        old.kill()
        await new.start()
        await cluster.promote(new)
        await cluster.follow(old, new)


async def restart_all(cluster: Cluster, *names: str) -> None:
    """Restart these one after the other, each when the one before serves again."""
    for name in names:
        await cluster.parts[name].restart()
        await until(cluster.is_whole, 60)


@asynccontextmanager
async def _restarted(cluster: Cluster) -> AsyncGenerator[None]:
    await restart_all(cluster, *APIS, *RELAYS, *PROJECTORS)
    yield


@asynccontextmanager
async def _restarted_brokers(cluster: Cluster) -> AsyncGenerator[None]:
    for broker in cluster.brokers:
        await broker.restart()
        await until(lambda: _has_leader(cluster))
    yield


async def _has_leader(cluster: Cluster) -> bool:
    return await cluster.stream_leader() is not None


def _killing(name: str) -> Fault:
    about = f"kill -9 of {name}, one of two"
    return _fault(f"kill-{name}", about, lambda cluster: killed(cluster.parts[name]))


def _fault(
    name: str,
    about: str,
    inject: Callable[[Cluster], AbstractAsyncContextManager[object]],
    *,
    longest: float = 5.0,
) -> Fault:
    @asynccontextmanager
    async def inject_cluster(system: System) -> AsyncGenerator[None]:
        assert isinstance(system, Cluster)
        async with inject(system):
            yield

    return Fault(
        name=f"cluster-{name}",
        about=about,
        inject=inject_cluster,
        longest=longest,
        is_clustered=True,
    )


register(
    _fault("kill-nats", "kill -9 of the NATS server that leads the stream", without_nats_leader),
    _fault(
        "restart-nats", "each NATS server is restarted, one after the other", _restarted_brokers
    ),
    _fault("failover", "kill -9 of the primary, and its standby is promoted", failed_over),
    _fault("zombie", "after a failover the old primary is back, and knows nothing", _with_zombie),
    _fault(
        "lagging-standby",
        "the standby is away, the primary crashes, recovers and dies, the standby is promoted",
        _with_lagging_standby,
    ),
    _fault("restart-all", "every process is restarted, one after the other", _restarted),
    *(_killing(name) for name in (*APIS, *RELAYS, *PROJECTORS)),
)
