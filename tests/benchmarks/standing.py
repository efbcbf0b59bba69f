"""What is measured beside requests: a rebuild, the memory of a long load, and the limits."""

import asyncio
from typing import Final

import msgspec

from tests.benchmarks import contenders, limits
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import CUSTOMERS_PATH, Service
from tests.benchmarks.data import customer
from tests.benchmarks.deployment import a_nats
from tests.benchmarks.figures import Memory, Row, Target, rise
from tests.benchmarks.load import Client, open_loop, run
from tests.benchmarks.wrk import Missing
from tests.support.signals import at

API_MEGABYTES: Final = 150
FLAT: Final = 0.03
"""Memory is flat when the line through the second half of its samples rises by at most so much."""
_SAMPLE_SECONDS: Final = 10.0
_WRITES: Final = 200
_READS: Final = 400
_PUBLISHED_AT_ONCE: Final = (1, 100, 1_000)


def rebuild_all(bench: Bench) -> None:
    """The read model of all customers built anew, indexes included, while nothing else goes on."""
    bench.settings("large")
    bench.row(
        Row(
            stage="rebuild",
            what=f"rebuild of {bench.sizes.customers:,} events",
            unit="/s",
            ours=bench.sizes.customers / bench.rebuild_seconds,
            target=Target(at_least=25_000),
        )
    )


def measure_limits(bench: Bench) -> None:
    """What Postgres and JetStream can do by themselves, with rows and messages as ours."""
    seconds = bench.sizes.seconds
    url = bench.empty_database("limits")
    for clients in (1, 32):
        bench.tell(f"pgbench, single inserts, {clients} clients")
        try:
            found = limits.single_inserts(url, max(1, round(seconds / 2)), clients)
        except LookupError as error:
            bench.report.skipped["limits: pgbench"] = str(error)
            break
        _limit(bench, f"single inserts, {clients} client{'s' * (clients > 1)}", "/s", found)
    bench.tell("binary COPY")
    rows = bench.sizes.customers // 4
    _limit(bench, "binary COPY, rows", "/s", limits.binary_copy(url, rows))
    bench.drop_database("limits")
    with a_nats(bench.folder / "nats-limits") as nats:
        for batch in _PUBLISHED_AT_ONCE:
            bench.tell(f"atomic batches of {batch:,} messages")
            found = limits.batch_publish(nats.url, batch, max(1, seconds / 2))
            _limit(bench, f"JetStream, batches of {batch:,}", "/s", found)


def _limit(bench: Bench, what: str, unit: str, found: float) -> None:
    bench.row(Row(stage="limits", what=what, unit=unit, beside=found, beside_what="limit"))


def hold_memory(bench: Bench) -> None:
    """What our processes hold while writes, gets, lists and searches go on for long."""
    if not bench.sizes.soak_minutes:
        raise Missing("it takes minutes: --soak 30")
    with bench.ours("small") as service:
        samples = run(_soak(bench, service))
    for memory in samples:
        bench.remember(memory)
        most = max(memory.megabytes)
        bench.row(
            Row(
                stage="memory",
                what=f"{memory.process}, most that it held",
                unit="MB",
                better="less",
                ours=most,
                target=Target(at_most=API_MEGABYTES) if memory.process == "api" else None,
            )
        )
        bench.row(
            Row(
                stage="memory",
                what=f"{memory.process}, rise in second half",
                unit="%",
                better="less",
                ours=100 * rise(memory),
                target=Target(at_most=100 * FLAT),
            )
        )


async def _soak(bench: Bench, service: Service) -> list[Memory]:
    seconds = 60 * bench.sizes.soak_minutes
    samples = [Memory(process=name, seconds=[], megabytes=[]) for name in service.pids]
    known: list[str] = []

    async def ask(turn: int) -> None:
        await _mixed(bench, client, turn, known)

    async with service.client() as client:
        loading = asyncio.create_task(
            open_loop(_WRITES + _READS, range(round((_WRITES + _READS) * seconds)), ask)
        )
        now, turn = asyncio.get_running_loop().time, 0
        begun = now()
        while not loading.done():
            for memory in samples:
                memory.seconds.append(now() - begun)
                memory.megabytes.append(contenders.resident_megabytes(service.pids[memory.process]))
            turn += 1
            bench.tell(f"ours, under load for {(now() - begun) / 60:.0f} of {seconds / 60:g} min")
            await at(begun + turn * min(_SAMPLE_SECONDS, seconds / 10))
        await loading
    return samples


async def _mixed(bench: Bench, client: Client, turn: int, known: list[str]) -> None:
    """A third writes, creates and changes in turn; the others get, and now and then list."""
    if turn % 6 == 0 or not known:
        body = msgspec.json.encode(customer(next(bench.new_numbers)))
        answer = await client.post(CUSTOMERS_PATH, body)
        known.append(msgspec.json.decode(answer)["data"]["id"])
        del known[:-1_000]
    elif turn % 6 == 3:
        path = f"{CUSTOMERS_PATH}/{known[turn % len(known)]}"
        body = b'{"custom_fields":{"score":%d}}' % turn
        await client.ask(client.request("PATCH", path, body))
    elif turn % 60 == 1:
        await client.get(f"{CUSTOMERS_PATH}?search=nimbus")
    elif turn % 60 == 31:
        await client.get(f"{CUSTOMERS_PATH}?tags=vip")
    else:
        await client.get(f"{CUSTOMERS_PATH}/{known[turn % len(known)]}")
