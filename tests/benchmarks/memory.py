"""What our processes hold in memory under a long load, and that it has to stay so."""

import asyncio
from typing import Final

import msgspec

from tests.benchmarks import contenders
from tests.benchmarks.bench import Bench
from tests.benchmarks.contenders import CUSTOMERS_PATH, Service
from tests.benchmarks.data import customer
from tests.benchmarks.figures import API_MEGABYTES, Memory, Row, Target, rise
from tests.benchmarks.load import Client, Refused, open_loop, run
from tests.benchmarks.wrk import Missing
from tests.support.signals import at

_FLAT: Final = 0.03
"""Memory is flat when the line through the second half of its samples rises by at most so much."""
_REFUSED: Final = 0.001
_SAMPLE_SECONDS: Final = 10.0
_WRITES: Final = 200
_READS: Final = 400


def hold_memory(bench: Bench) -> None:
    """What our processes hold while writes, gets, lists and searches go on for long."""
    if not bench.sizes.soak_minutes:
        raise Missing("it takes minutes: --soak 30")
    with bench.ours("small") as service:
        samples, refused = run(_soak(bench, service))
    bench.row(
        Row(
            stage="memory",
            what="requests refused meanwhile",
            unit="%",
            better="less",
            ours=100 * refused,
            target=Target(at_most=100 * _REFUSED),
        )
    )
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
                target=Target(at_most=100 * _FLAT),
            )
        )


async def _soak(bench: Bench, service: Service) -> tuple[list[Memory], float]:
    """What each process held, and the share of requests that were refused."""
    seconds = 60 * bench.sizes.soak_minutes
    samples = [Memory(process=name, seconds=[], megabytes=[]) for name in service.pids]
    known: list[str] = []
    requests = round((_WRITES + _READS) * seconds)
    refused = 0

    async def ask(turn: int) -> None:
        nonlocal refused
        try:
            await _mixed(bench, client, turn, known)
        except (Refused, ConnectionError) as error:
            # In half an hour a machine may stand still for seconds: it is told, and goes on.
            refused += 1
            bench.tell(f"refused: {str(error)[:100]}")

    async with service.client() as client:
        loading = asyncio.create_task(open_loop(_WRITES + _READS, range(requests), ask))
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
    return samples, refused / requests


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
