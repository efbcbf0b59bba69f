"""The service on more than one machine: whoever leads there dies, and nothing is lost."""

from typing import Final

import nats
import pytest
from nats.js.api import StreamConfig

from events.erased_messages import ErasedMessages
from events.jetstream import stream_name
from runtime.primary import primary_of
from tests.benchmarks.deployment import a_folder
from tests.faults.checks import check
from tests.faults.cluster import APIS, PROJECTORS, RELAYS, Cluster, a_cluster
from tests.faults.cluster_faults import failed_over, restart_all, without_nats_leader
from tests.faults.evidence import caught_up, gather
from tests.faults.history import History
from tests.faults.load import Pace, loaded
from tests.support.signals import until

pytestmark = pytest.mark.timeout(240)

_SEED: Final = 7


def _failures(history: History) -> list[str]:
    """Attempts that ended without an answer, or with one that does not say to try again.

    Some clients give up before there is one; a 503 names when to retry, which clients check.
    """
    fine = ("2", "3", "4", "503", "TimeoutError")
    failed = {name for name in history.statuses if not name.startswith(fine)}
    return history.excerpt([*failed, "failed"]) if failed else []


async def test_a_cluster_loses_nothing_when_all_restart_and_whoever_leads_dies() -> None:
    with a_folder() as folder:
        history = History(folder / "history.jsonl")
        pace = Pace(clients=2, rest_seconds=0.1)
        async with (
            a_cluster(folder, seed=_SEED, workspaces=("acme", "globex")) as cluster,
            loaded(cluster, history, seed=_SEED, pace=pace) as load,
        ):
            await until(lambda: len(history.written_at) > 10)
            await restart_all(cluster, *APIS, *RELAYS, *PROJECTORS)
            assert _failures(history) == []

            async with without_nats_leader(cluster):
                await _goes_on(history)
            assert _failures(history) == []

            async with failed_over(cluster):
                await _goes_on(history)
                await _old_primary_is_left_alone(cluster)
            await _goes_on(history)

            await load.finish()
            await caught_up(cluster.settings, history)
            await _deletes_what_is_gone(cluster)
            evidence = await gather(cluster, history)
            await load.readers_reach(
                {name: len(feed) for name, feed in evidence.feeds.items()}, evidence.last_sequence
            )
        history.close()
    assert history.violations == []
    assert check(evidence) == []
    assert evidence.last_sequence == len(evidence.log)


async def _goes_on(history: History) -> None:
    """Writes that are sent from now on are answered."""
    written = len(history.written_at)
    await until(lambda: len(history.written_at) > written + 10)


async def _old_primary_is_left_alone(cluster: Cluster) -> None:
    """A primary from before the failover that is back is not taken for the primary."""
    old, new = sorted(cluster.nodes, key=lambda node: node.is_alive)
    await old.start()
    url = await primary_of(cluster.settings.database_url)
    assert f"port={new.node.port}" in url
    assert f"port={old.node.port}" not in url


async def _deletes_what_is_gone(cluster: Cluster) -> None:
    """Deleting a message twice from a stream of three copies is no failure, as an eraser does."""
    client = await nats.connect(cluster.settings.nats_url.split(","))
    try:
        stream = client.jetstream()
        name = stream_name(99, 1)
        await stream.add_stream(StreamConfig(name=name, subjects=["gone"], num_replicas=3))
        await stream.publish("gone", b"{}")
        messages = ErasedMessages(lambda: client, 99)
        assert await messages.delete_again(1, [1]) == 1
        assert await messages.delete_again(1, [1]) == 0
        await stream.delete_stream(name)
    finally:
        await client.close()
