"""How long the history of one customer takes: `python -m tests.benchmarks.history [EVENTS]`.

An API in a process of its own, on a Postgres that writes through to disk, answers one reader after
the other over one connection. Customers with 1, 20 and 100 events stand scattered over a log of
1,000,000, the others are of another workspace. Counted is from the request to the last byte of the
answer, the recording of the access included.
"""

import asyncio
import math
import sys
from itertools import cycle, islice
from typing import Final

import msgspec
import psycopg
from msgspec.structs import replace

from events.customer import CustomerData, CustomerUpdated, PreviousData
from events.envelope import CustomerId, Metadata
from events.keys import Keyring
from events.log import PostgresLog
from runtime.api_keys import NewKey, issue_key
from runtime.postgres import Role, connect_as_owner, make_pool
from runtime.settings import Settings, read_master_keys
from tests.benchmarks.deployment import a_deployment, an_api
from tests.benchmarks.load import Client, Timings, closed_loop, run
from tests.support.builders import Writer, created

EVENTS: Final = 1_000_000
READS: Final = 2_000
SIZES: Final = (1, 20, 100)
EACH: Final = 50
"""So many customers of each size."""
_CUSTOMER: Final = CustomerData(
    email="jane@example.com", phone="+15550001234", first_name="Jane", tags=("vip",)
)
_RENAMED: Final = CustomerUpdated(
    customer=_CUSTOMER,
    changed_fields=("first_name",),
    previous=PreviousData(first_name="Joan"),
    actor="clerk-7",
    reason="asked for on the phone",
)

# Events of another workspace behind those that are there, that nobody can open.
_FILL: Final = """
INSERT INTO log.events
SELECT 1, last + n, 'filler', %(filled)s + n, gen_random_uuid(), 1, gen_random_uuid(),
       gen_random_uuid(), 'CustomerCreated', 1, gen_random_uuid(),
       convert_to(repeat('x', 600), 'UTF8'), '{}', clock_timestamp(), sha256(int8send(n)),
       sha256(int8send(-n))
  FROM generate_series(1, %(events)s::int8) AS n,
       (SELECT coalesce(max(position), 0) AS last FROM log.events) AS head
"""


async def fill(settings: Settings, key: NewKey, events: int) -> dict[int, list[CustomerId]]:
    """A log of about so many events, the readable ones written by a key; the customers by size."""
    writer = Writer(Keyring(read_master_keys(settings)))
    metadata = msgspec.json.encode(Metadata(api_key_id=str(key.key_id)))
    customers = {size: [writer.a_customer() for _ in range(EACH)] for size in SIZES}
    rounds = max(SIZES)
    with psycopg.connect(settings.database_url, autocommit=True) as owner:
        async with make_pool(settings, Role.API, "benchmark", size=1) as pool:
            log = PostgresLog(pool, settings.log_id)
            for turn in range(rounds):
                each = events // rounds
                owner.execute(_FILL, {"filled": turn * each, "events": each})
                happened = _RENAMED if turn else created(_CUSTOMER)
                made = [
                    writer.event(customer, turn + 1, happened)
                    for size in SIZES
                    if turn < size
                    for customer in customers[size]
                ]
                await log.append(
                    [writer.group(replace(event, metadata=metadata)) for event in made]
                )
        owner.execute("VACUUM ANALYZE log.events")
    return customers


async def measure(port: int, api_key: str, customers: list[CustomerId]) -> Timings:
    """How long each reading took."""
    async with Client(port, api_key) as client:
        paths = (f"/api/v1/external/customers/{one}/history" for one in cycle(customers))
        requests = (client.request("GET", path) for path in islice(paths, READS))
        return await closed_loop(client, requests, connections=1, seconds=math.inf)


def main() -> None:
    """Measure once and say so."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with a_deployment() as settings:
        with connect_as_owner(settings, "benchmark keys") as owner:
            key = issue_key(owner, workspace="acme")
        customers = asyncio.run(fill(settings, key, events))
        with an_api(settings) as port:
            for size in SIZES:
                timings = run(measure(port, key.key, customers[size]))
                sys.stdout.write(
                    f"history of {size} events in a log of {events:,}: "
                    f"p50 {timings.milliseconds(50):.1f} ms, "
                    f"p99 {timings.milliseconds(99):.1f} ms\n"
                )


if __name__ == "__main__":
    main()
