"""How quickly the read model is built anew: `python -m tests.benchmarks.rebuild [EVENTS] [EACH]`.

EVENTS events of customers with EACH of them are in the log of a `customers dev`, on servers that
write through to disk. First nothing else goes on; then WRITES updates and READS gets a second come
in an open loop: without a rebuild, during one, and during the way back. No answer may be an error,
and no read may show less than was answered, or read, before it began.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from itertools import count, takewhile
from pathlib import Path
from statistics import quantiles
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from events.append import Appended
from events.customer import CustomerData, CustomerUpdated, PreviousData
from events.envelope import CustomerId, NewEvent, WorkspaceId
from events.keys import Keyring
from events.log import PostgresLog
from runtime.dev.keys import WORKSPACE
from runtime.postgres import Role, make_pool
from runtime.settings import Settings, read_master_keys, read_settings
from tests.benchmarks.load import Client, Refused, open_loop
from tests.support.builders import Writer, created
from tests.support.dev import CUSTOMERS, Dev, a_place, clean_environment, running_dev
from tests.support.signals import until

EVENTS: Final = 1_000_000
EACH: Final = 2
WRITES: Final = 200
READS: Final = 200
SECONDS: Final = 20
_BATCH: Final = 500
_TOUCHED: Final = 500


def a_customer(number: int, version: int) -> CustomerData:
    """Somebody with something in every field."""
    return CustomerData(
        email=f"jane{number}@example.com",
        phone=f"+1555{number:07d}",
        first_name=f"Jane{number}",
        last_name=f"Doe {number * 919 % 1000}",
        company_name="Acme Corp" if number % 2 else None,
        external_id=f"cust-{number}",
        tags=("common", f"tag-{number % 100}"),
        custom_fields={"account_type": msgspec.Raw(b'"premium %d"' % version)},
    )


async def seed(settings: Settings, events: int, each: int) -> list[CustomerId]:
    """So many events, written round after round over all customers; those customers."""
    writer = Writer(Keyring(read_master_keys(settings)), WorkspaceId(WORKSPACE))
    customers = [writer.a_customer() for _ in range(events // each)]
    async with make_pool(settings, Role.API, "benchmark", size=1) as pool:
        log = PostgresLog(pool, settings.log_id)
        for version in range(1, each + 1):
            for start in range(0, len(customers), _BATCH):
                batch = [
                    _event(writer, customer_id, start + place, version)
                    for place, customer_id in enumerate(customers[start : start + _BATCH])
                ]
                (outcome,) = await log.append([writer.group(*batch)])
                assert isinstance(outcome, Appended), outcome
    return customers


def _event(writer: Writer, customer_id: CustomerId, number: int, version: int) -> NewEvent:
    data = a_customer(number, version)
    if version == 1:
        return writer.event(customer_id, 1, created(data))
    changed = CustomerUpdated(
        customer=data, changed_fields=("custom_fields",), previous=PreviousData()
    )
    return writer.event(customer_id, version, changed)


class _Document(Struct):
    version: int


class _Answer(Struct):
    data: _Document


_answers: Final = msgspec.json.Decoder(_Answer)


class Load:
    """Writes and reads of some customers in an open loop, and what was wrong with the answers."""

    def __init__(self, client: Client, customers: list[CustomerId]) -> None:
        self._client = client
        self._customers = customers
        self._seen = dict.fromkeys(customers, 0)
        self._written = 0
        self.read_ms: list[float] = []
        self.errors: list[str] = []
        self.steps_back = 0

    async def run(self, goes_on: Callable[[], bool]) -> None:
        """Begin a write and a read at their times until it is over; then wait for the answers."""
        turns = takewhile(lambda _: goes_on(), count())
        await open_loop(WRITES + READS, turns, self._ask_one)

    async def _ask_one(self, turn: int) -> None:
        await (self._write() if turn % 2 else self._read())

    async def _write(self) -> None:
        self._written += 1
        customer_id = self._customers[self._written % len(self._customers)]
        body = b'{"custom_fields":{"account_type":"number %d"}}' % self._written
        version = await self._ask("PATCH", customer_id, body)
        self._see(customer_id, version)

    async def _read(self) -> None:
        customer_id = random.choice(self._customers)  # noqa: S311 - a load, no secret
        seen = self._seen[customer_id]
        began = time.perf_counter()
        version = await self._ask("GET", customer_id)
        self.read_ms.append(1000 * (time.perf_counter() - began))
        if version is not None:
            self.steps_back += version < seen
        self._see(customer_id, version)

    def _see(self, customer_id: CustomerId, version: int | None) -> None:
        self._seen[customer_id] = max(version or 0, self._seen[customer_id])

    async def _ask(self, method: str, customer_id: CustomerId, body: bytes = b"") -> int | None:
        path = f"/api/v1/external/customers/{customer_id}"
        try:
            answer = await self._client.ask(self._client.request(method, path, body))
        except Refused as refused:
            self.errors.append(str(refused))
            return None
        if b"x-data-stale" in answer.head.lower():
            self.errors.append(f"{method} {path} was answered with stale data")
            return None
        return _answers.decode(answer.body).data.version


async def command(place: Path, *arguments: str) -> float:
    """Seconds that a command of ours takes."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *CUSTOMERS, *arguments, cwd=place, env=clean_environment()
    )
    assert await process.wait() == 0
    return time.perf_counter() - began


async def measure(dev: Dev, customers: list[CustomerId], events: int) -> None:
    """Rebuild alone, then under load."""
    seconds = await command(dev.place, "rebuild")
    _say(f"idle: {events:,} events in {seconds:.1f} s, {events / seconds:,.0f} events/s")
    await command(dev.place, "rebuild", "drop")

    touched = random.sample(customers, min(_TOUCHED, len(customers)))
    until_then = time.perf_counter() + SECONDS
    idle = await _loaded(dev, touched, lambda: time.perf_counter() < until_then)
    for name in ("", "rollback", "drop"):
        working = asyncio.create_task(command(dev.place, "rebuild", *filter(None, [name])))
        busy = await _loaded(dev, touched, lambda task=working: not task.done())
        _say(
            f"rebuild {name}, {WRITES} writes/s and {READS} reads/s: {await working:.1f} s, read "
            f"p99 {busy:.1f} ms, {busy / idle:.1f} times that without"
        )


async def _loaded(dev: Dev, customers: list[CustomerId], goes_on: Callable[[], bool]) -> float:
    async with Client(urlsplit(dev.said["url"]).port or 0, dev.said["api_key"]) as client:
        load = Load(client, customers)
        await load.run(goes_on)
    hundredths = quantiles(load.read_ms, n=100)
    _say(
        f"  {len(load.read_ms):,} reads: p50 {hundredths[49]:.1f} ms, p99 {hundredths[98]:.1f} ms, "
        f"{len(load.errors)} errors, {load.steps_back} steps back"
    )
    for error in load.errors[:3]:
        _say(f"  {error}")
    return hundredths[98]


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


async def _all(dev: Dev, events: int, each: int) -> None:
    environ = {
        "CUSTOMERS_DATABASE_URL": dev.said["database_url"],
        "CUSTOMERS_MASTER_KEYS_FILE": json.loads(
            (dev.place / ".customers/dev/run.json").read_bytes()
        )["master_keys_file"],
    }
    began = time.perf_counter()
    customers = await seed(read_settings(environ), events, each)
    _say(f"seeded {events:,} events of {len(customers):,} customers")

    async def is_settled() -> bool:
        status = await asyncio.to_thread(dev.status)
        return not status["problems"]

    await until(is_settled, seconds=1800)
    _say(f"relay and projector have caught up after {time.perf_counter() - began:.0f} s")
    await measure(dev, customers, events)


def main() -> None:
    """Measure once and say so."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    each = int(sys.argv[2]) if len(sys.argv) > 2 else EACH
    with a_place() as place, running_dev(place, CUSTOMERS_RATE_LIMIT="0") as dev:
        asyncio.run(_all(dev, events, each))


if __name__ == "__main__":
    main()
