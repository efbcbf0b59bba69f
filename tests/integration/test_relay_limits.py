"""Large events: bounded batches, a broker that takes less than was believed, and 100 MB at once."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager

import httpx
import nats
import pytest
from msgspec import Raw
from msgspec.structs import replace
from nats.aio.client import Client

from events.append import Group
from events.customer import CustomerData
from events.envelope import Position
from events.log import PostgresLog
from events.relay import BATCH_BYTES_MAX
from events.relay_log import RelayLog
from runtime.nats import NatsLine
from runtime.postgres import Role, connect
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.builders import Writer, created
from tests.support.nats_server import NatsServer, nats_with
from tests.support.relaying import relaying, until_published
from tests.support.signals import until

KIB = 1024


def a_large_one(writer: Writer, size: int) -> Group:
    """A group whose one event has about so many bytes."""
    data = CustomerData(
        email="jane@example.com", custom_fields={"text": Raw(b'"%b"' % (b"a" * size))}
    )
    return writer.group(writer.event(writer.a_customer(), event=created(data)))


@pytest.fixture
def narrow_nats() -> Generator[NatsServer]:
    """A NATS server that takes messages of 16 KiB."""
    with nats_with(max_payload=16 * KIB) as server:
        yield server


@pytest.fixture
def narrow(settings: Settings, narrow_nats: NatsServer) -> Settings:
    """Settings of a service that knows how much its NATS takes."""
    return replace(settings, nats_url=narrow_nats.url, nats_max_payload=16 * KIB)


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Client]:
    """A NATS client until the block ends."""
    client = await nats.connect(url)
    try:
        yield client
    finally:
        await client.close()


async def test_many_large_events_are_published_however_much_they_are_together(
    settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    for _ in range(10):
        await postgres_log.append([a_large_one(writer, 200 * KIB) for _ in range(20)])
    async with connected(settings.nats_url) as client, relaying(settings, client) as relay:
        await until_published(settings, client, 200)
        await until(lambda: relay.state.sequence == 200)
        assert relay.state.words == ""


async def test_no_more_is_read_at_once_than_makes_a_batch(
    settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    sizes = (200, 500, 100, 1, 1)
    await postgres_log.append([a_large_one(writer, size * KIB) for size in sizes])
    async with await connect(settings, Role.RELAY, "test relay") as connection:
        log = RelayLog(connection, settings.log_id)

        async def positions(after: int, limit: int, size: int) -> list[int]:
            events = await log.read_batch(Position(after), limit, size)
            return [keyed.stored.position for keyed in events]

        assert await positions(0, 1000, BATCH_BYTES_MAX) == [1, 2, 3, 4, 5]
        # Until it is full, give or take one event; and never none.
        assert await positions(0, 1000, 300 * KIB) == [1, 2]
        assert await positions(1, 1000, 300 * KIB) == [2]
        assert await positions(2, 1000, 300 * KIB) == [3, 4, 5]
        assert await positions(2, 2, 300 * KIB) == [3, 4]
        assert await positions(5, 1000, 300 * KIB) == []


async def test_what_the_api_accepts_never_stops_the_relay_on_a_small_broker(
    narrow: Settings,
) -> None:
    async with (
        running_api(narrow) as api,
        connected(narrow.nats_url) as client,
        relaying(narrow, client) as relay,
    ):
        with_key(api, make_key(narrow))
        statuses = [await status_of(api, KIB * tenth // 10) for tenth in range(120, 160, 2)]
        accepted = statuses.count(200)
        assert sorted(statuses) == statuses
        assert 0 < accepted < len(statuses)
        await until_published(narrow, client, accepted)
        await until(lambda: relay.state.sequence == accepted)
        assert relay.state.condition == "publishing"


async def status_of(api: httpx.AsyncClient, length: int) -> int:
    """How a customer with a text of this length is answered."""
    body = {"email": "jane@example.com", "custom_fields": {"text": "a" * length}}
    return (await api.post(CUSTOMERS, json=body)).status_code


async def test_a_broker_that_takes_less_than_the_api_believes_is_told_before_and_after_it_matters(
    settings: Settings,
    narrow_nats: NatsServer,
    postgres_log: PostgresLog,
    writer: Writer,
) -> None:
    settings = replace(settings, nats_url=narrow_nats.url)
    line = NatsLine(settings, "test relay")
    await postgres_log.append([writer.creation()])
    async with line.kept_up(), relaying(settings, line.client, audit_seconds=1.0) as relay:
        await until(lambda: relay.state.sequence == 1)
        assert relay.state.condition == "publishing"
        assert (
            "NATS takes messages of 16384 bytes, and CUSTOMERS_NATS_MAX_PAYL" in relay.state.words
        )

        await postgres_log.append([writer.creation(), a_large_one(writer, 20 * KIB)])
        relay.wake()
        await until(lambda: relay.state.condition == "stopped")
        assert relay.state.sequence == 2
        assert "Event 3 is a message of 2" in relay.state.words
        assert "Raise max_payload of NATS" in relay.state.words

        narrow_nats.configure(max_payload=32 * KIB)
        narrow_nats.reload()
        await until(lambda: relay.state.sequence == 3)
