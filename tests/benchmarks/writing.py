"""What is measured of writes, and what each measure has to reach."""

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec

from tests.benchmarks import contenders, wrk
from tests.benchmarks.bench import Bench, Place
from tests.benchmarks.contenders import CUSTOMERS_PATH, Service
from tests.benchmarks.data import customer
from tests.benchmarks.figures import SERVICES, Row, Target, Who
from tests.benchmarks.load import (
    Client,
    Refused,
    Timings,
    closed_loop,
    now,
    open_loop,
    run,
)
from tests.benchmarks.wrk import WrkRun

MANY: Final = 64
BULK_ROWS: Final = 500
BULK_CONNECTIONS: Final = 2
WRITES_PER_SECOND: Final = 500
_WATCHED: Final = 20
"""Every so many-th write is watched until it is visible."""


def create_by_many(bench: Bench) -> None:
    """Creates over many connections: ours, the peer's, and the bare framework's."""
    wrk.find_wrk()
    stage, what, seconds = "post", f"POST, {MANY} connections", bench.sizes.load_seconds
    with bench.ours("small") as service:
        ours = _creates(bench, service, seconds)
        late = contenders.wait_caught_up(bench.settings("small"))
        _check_all_there(service, ours)
    with bench.peer("small") as service:
        theirs = _creates(bench, service, seconds)
        _check_all_there(service, theirs)
    with bench.bare() as service:
        echo_url = f"http://127.0.0.1:{service.port}/echo"
        echo = wrk.creates(echo_url, "", connections=MANY, seconds=bench.sizes.seconds)
    bench.note(stage, what, "ours", ours.ran)
    bench.note(stage, what, "peer", theirs.ran)
    bench.note(stage, what, "bare", echo)
    for beside_what, beside, ratio in (("peer", theirs.ran, 6.0), ("bare echo", echo, 0.3)):
        bench.row(
            Row(
                stage=stage,
                what=what,
                unit="/s",
                ours=ours.ran.per_second,
                beside=beside.per_second,
                beside_what=beside_what,
                target=Target(ratio=ratio),
            )
        )
    bench.row(
        Row(
            stage=stage,
            what="… caught up after it",
            unit="s",
            better="less",
            ours=late,
            target=Target(at_most=1.0),
        )
    )


class _Creates(msgspec.Struct, frozen=True):
    """A load of creates, and how many customers there were before."""

    ran: WrkRun
    before: int


def _creates(bench: Bench, service: Service, seconds: float) -> _Creates:
    if bench.sizes.warm_seconds >= 1:
        warm = bench.sizes.warm_seconds
        wrk.creates(service.url, service.key, connections=MANY, seconds=warm)
    before = service.total()
    return _Creates(
        wrk.creates(service.url, service.key, connections=MANY, seconds=seconds), before
    )


def _check_all_there(service: Service, creates: _Creates) -> None:
    """Raises Refused when customers that were answered are not there."""
    made = service.total() - creates.before
    # Those under way at the end of a load, and of the one before it, are not counted but done.
    if not creates.ran.answers <= made <= creates.ran.answers + 2 * MANY:
        words = f"{creates.ran.answers:,} creates were answered, but {made:,} customers are there"
        raise Refused(words)


def create_one_by_one(bench: Bench) -> None:
    """Creates over one connection."""
    stage, what = "post-1", "POST, 1 connection, p50"
    found: dict[Who, Timings] = {}
    for who in SERVICES:
        with bench.contender(who, "small") as service:
            found[who] = run(_one_by_one(bench, service))
        bench.note(stage, what, who, found[who])
    bench.row(
        Row(
            stage=stage,
            what=what,
            unit="ms",
            better="less",
            ours=found["ours"].milliseconds(50),
            beside=found["peer"].milliseconds(50),
            beside_what="peer",
            target=Target(ratio=1.0),
        )
    )


async def _one_by_one(bench: Bench, service: Service) -> Timings:
    async with service.client() as client:
        bodies = (msgspec.json.encode(customer(number)) for number in bench.new_numbers)
        requests = (client.request("POST", CUSTOMERS_PATH, body) for body in bodies)
        await closed_loop(client, requests, connections=1, seconds=bench.sizes.warm_seconds)
        return await closed_loop(client, requests, connections=1, seconds=bench.sizes.seconds)


def create_at_a_million(bench: Bench) -> None:
    """Creates among many customers against creates among few, in turn: the machine may drift."""
    wrk.find_wrk()
    stage, rounds = "size", 2
    found: dict[Place, list[WrkRun]] = {"fresh": [], "large": []}
    for _ in range(rounds):
        for place, runs in found.items():
            with bench.ours(place) as service:
                runs.append(_creates(bench, service, bench.sizes.seconds).ran)
                contenders.wait_caught_up(bench.settings(place))
    few, many = (
        sum(one.answers for one in runs) / sum(one.microseconds / 1e6 for one in runs)
        for runs in found.values()
    )
    customers = bench.customers_of("large"), bench.customers_of("fresh")
    bench.row(
        Row(
            stage=stage,
            what=f"POST at {customers[0]:,} customers",
            unit="/s",
            ours=many,
            beside=few,
            beside_what=f"at {customers[1]:,}",
            target=Target(ratio=0.9),
        )
    )


def create_in_bulk(bench: Bench) -> None:
    """Calls of 500 customers over two connections."""
    stage, what = "bulk", f"bulk of {BULK_ROWS}, {BULK_CONNECTIONS} connections"
    found: dict[Who, Timings] = {}
    late = 0.0
    for who in SERVICES:
        with bench.contender(who, "small") as service:
            found[who], before = run(_in_bulk(bench, service))
            if who == "ours":
                late = contenders.wait_caught_up(bench.settings("small"))
            _check_rows(service, found[who], before)
        bench.note(stage, what, who, found[who])
    bench.row(
        Row(
            stage=stage,
            what=what,
            unit="/s",
            ours=found["ours"].per_second * BULK_ROWS,
            beside=found["peer"].per_second * BULK_ROWS,
            beside_what="peer",
            target=Target(at_least=12_000, ratio=4.0),
        )
    )
    bench.row(Row(stage=stage, what="… caught up after it", unit="s", better="less", ours=late))


async def _in_bulk(bench: Bench, service: Service) -> tuple[Timings, int]:
    """The calls, and how many customers there were before."""
    async with service.client() as client:
        # Made before, more than can be asked in the time.
        calls = max(4, round(bench.sizes.seconds * 40))
        requests = iter([_bulk_request(client, bench.new_numbers) for _ in range(calls)])
        await closed_loop(client, requests, connections=BULK_CONNECTIONS, seconds=0, at_least=2)
        before = contenders.total_of(await client.get(f"{CUSTOMERS_PATH}?per_page=1"))
        ran = await closed_loop(
            client, requests, connections=BULK_CONNECTIONS, seconds=bench.sizes.seconds
        )
    return ran, before


def _check_rows(service: Service, ran: Timings, before: int) -> None:
    made = service.total() - before
    if made != len(ran.taken) * BULK_ROWS:
        raise Refused(f"{len(ran.taken):,} bulk calls were answered, {made:,} customers are there")


def _bulk_request(client: Client, numbers: Iterator[int]) -> bytes:
    rows = [customer(next(numbers)) for _ in range(BULK_ROWS)]
    return client.request(
        "POST", f"{CUSTOMERS_PATH}/bulk", msgspec.json.encode({"customers": rows})
    )


def become_visible(bench: Bench) -> None:
    """From the answer to a create until an eventual list shows it, at a steady rate."""
    stage, rate = "visible", f"{WRITES_PER_SECOND} writes/s"
    with bench.ours("small") as service:
        run(_watch(bench, service, bench.sizes.warm_seconds))
        writes, late = run(_watch(bench, service, 2 * bench.sizes.seconds))
    bench.note(stage, f"POST, {rate}", "ours", writes)
    bench.note(stage, f"until visible, {rate}", "ours", late)
    for percent, most in ((50, 5.0), (99, 50.0)):
        bench.row(
            Row(
                stage=stage,
                what=f"until visible, {rate}, p{percent}",
                unit="ms",
                better="less",
                ours=late.milliseconds(percent),
                target=Target(at_most=most),
            )
        )
    bench.row(
        Row(
            stage=stage,
            what=f"POST, {rate}, p99",
            unit="ms",
            better="less",
            ours=writes.milliseconds(99),
        )
    )


async def _watch(bench: Bench, service: Service, seconds: float) -> tuple[Timings, Timings]:
    """Seconds of each create from when it was due, and from its answer until a list shows it."""
    late: list[float] = []
    async with service.client() as client, service.client() as reader, asyncio.TaskGroup() as group:

        async def watch(external_id: str, answered: float) -> None:
            path = f"{CUSTOMERS_PATH}?consistency=eventual&external_id={external_id}"
            while not msgspec.json.decode(await reader.get(path))["data"]:
                pass
            late.append(now() - answered)

        async def write(turn: int) -> None:
            body = customer(next(bench.new_numbers))
            await client.post(CUSTOMERS_PATH, msgspec.json.encode(body))
            if turn % _WATCHED == 0:
                group.create_task(watch(body["external_id"], now()))

        writes = await open_loop(
            WRITES_PER_SECOND, range(round(WRITES_PER_SECOND * seconds)), write
        )
    return writes, Timings(taken=late, seconds=writes.seconds)
