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
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from events.jetstream import stream_name
from tests.support.dev import a_place, running_dev
from tests.support.signals import at, until

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
    """Connections that are kept, as many as are needed at once; when each customer was answered."""

    def __init__(self, url: str, api_key: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        head = (
            f"POST /api/v1/external/customers HTTP/1.1\r\nHost: bench\r\nX-Api-Key: {api_key}\r\n"
        )
        head += f"Content-Type: application/json\r\nContent-Length: {len(_BODY)}\r\n\r\n"
        self._request = head.encode() + _BODY
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answered: dict[str, float] = {}

    async def write(self) -> None:
        """One write, on a connection of its own while it lasts."""
        try:
            reader, writer, head = await self._send(*await self._connection())
        except (ConnectionError, asyncio.IncompleteReadError):
            # The server ends those that nobody used for some seconds.
            reader, writer, head = await self._send(*await self._connect())
        assert head.startswith(b"HTTP/1.1 200"), head
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        body = await reader.readexactly(int(length))
        self.answered[_answers.decode(body).data.id] = time.perf_counter()
        self._idle.append((reader, writer))

    async def _send(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        writer.write(self._request)
        return reader, writer, await reader.readuntil(b"\r\n\r\n")

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self._idle.pop() if self._idle else await self._connect()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        """Close every connection."""
        for _, writer in self._idle:
            writer.close()


async def write_open_loop(writers: Writers, writes: int) -> None:
    """So many writes, each at its time, however long the others take."""
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for number in range(writes):
            await at(began + number / RATE)
            group.create_task(writers.write())


async def measure(url: str, api_key: str, nats_url: str, writes: int) -> list[float]:
    """Milliseconds from each answer to the arrival of its event."""
    arrived: dict[str, float] = {}

    async def receive(message: Msg) -> None:
        arrived[_events.decode(message.data).subject] = time.perf_counter()

    client = await nats.connect(nats_url)
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.NEW)
    writers = Writers(url, api_key)
    try:
        # The relay makes the stream as soon as it runs.
        await until(lambda: _has_stream(client))
        await client.jetstream().subscribe(
            "customers.1.1.>", stream=stream_name(1, 1), config=config, cb=receive
        )
        await write_open_loop(writers, RATE * WARM_UP_SECONDS)
        warm = set(writers.answered)
        await write_open_loop(writers, writes)
        await until(lambda: arrived.keys() >= writers.answered.keys())
    finally:
        writers.close()
        await client.close()
    measured = writers.answered.keys() - warm
    return [1000 * (arrived[one] - writers.answered[one]) for one in measured]


async def _has_stream(client: Client) -> bool:
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
