"""How soon an answered write is in JetStream: `python -m tests.benchmarks.publishing [SECONDS]`.

The processes are those of `customers dev`, on servers that write through to disk. Writes come in
an open loop, RATE a second whatever the answers do; the clock of each runs from its answer until
a JetStream consumer has the event. It is below zero when the event was faster than the answer.
"""

import asyncio
import sys
import time
from contextlib import suppress
from statistics import quantiles
from typing import Final
from urllib.parse import urlsplit

import msgspec
import nats
from msgspec import Struct
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from events.jetstream import stream_name
from tests.benchmarks.load import Client, open_loop
from tests.support.dev import a_place, running_dev
from tests.support.signals import until

RATE: Final = 500
SECONDS: Final = 20
WARM_UP_SECONDS: Final = 3
_BODY: Final = (
    b'{"email":"jane@example.com","firstName":"Jane","lastName":"Doe","phone":"+15550001234",'
    b'"tags":["vip"],"custom_fields":{"account_type":"premium"}}'
)


class _Created(Struct):
    id: str


class _Answer(Struct):
    data: _Created


class _Event(Struct):
    subject: str


_answers: Final = msgspec.json.Decoder(_Answer)
_events: Final = msgspec.json.Decoder(_Event)


class Writers:
    """Writes over connections that are kept, and notes when each customer was answered."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._request = client.request("POST", "/api/v1/external/customers", _BODY)
        self.answered: dict[str, float] = {}

    async def write(self, _turn: int) -> None:
        """One write, on a connection of its own while it lasts."""
        answer = await self._client.ask(self._request)
        self.answered[_answers.decode(answer.body).data.id] = time.perf_counter()


async def measure(url: str, api_key: str, nats_url: str, writes: int) -> list[float]:
    """Milliseconds from each answer to the arrival of its event."""
    arrived: dict[str, float] = {}

    async def receive(message: Msg) -> None:
        arrived[_events.decode(message.data).subject] = time.perf_counter()

    client = await nats.connect(nats_url)
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.NEW)
    api = Client(urlsplit(url).port or 0, api_key)
    writers = Writers(api)
    try:
        # The relay makes the stream as soon as it runs.
        await until(lambda: _has_stream(client))
        await client.jetstream().subscribe(
            "customers.1.1.>", stream=stream_name(1, 1), config=config, cb=receive
        )
        await open_loop(RATE, range(RATE * WARM_UP_SECONDS), writers.write)
        warm = set(writers.answered)
        await open_loop(RATE, range(writes), writers.write)
        await until(lambda: arrived.keys() >= writers.answered.keys())
    finally:
        api.close()
        await client.close()
    measured = writers.answered.keys() - warm
    return [1000 * (arrived[one] - writers.answered[one]) for one in measured]


async def _has_stream(client: NatsClient) -> bool:
    with suppress(NotFoundError):
        return (await client.jetstream().stream_info(stream_name(1, 1))).state.last_seq >= 0
    return False


def main() -> None:
    """Measure once and say so."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with a_place() as place, running_dev(place, CUSTOMERS_RATE_LIMIT="0") as dev:
        said = dev.said
        taken = asyncio.run(measure(said["url"], said["api_key"], said["nats_url"], RATE * seconds))
    hundredths = quantiles(taken, n=100)
    sys.stdout.write(
        f"publishing: p50 {hundredths[49]:.1f} ms, p99 {hundredths[98]:.1f} ms from an answer to "
        f"its event in JetStream, at {RATE} writes/s for {seconds} s\n"
    )


if __name__ == "__main__":
    main()
