"""Events as the JetStream stream delivers them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import nats.errors
import pytest
from nats.aio.client import Client

from events.append import KeyedEvent
from events.customer import CustomerErased
from events.envelope import Position, RecordedEvent
from events.jetstream import POSITION_HEADER
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from events.reading import recorded
from events.subscriber import JetStreamSource
from runtime.nats import NatsLine
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.signals import until
from tests.support.stream import HandStream


class Source:
    """A source that runs, and everything that it has delivered behind a position."""

    def __init__(self, line: NatsLine, log_id: int) -> None:
        self._arrived = asyncio.Event()
        self.jetstream = JetStreamSource(line.client, log_id, self._arrived.set)

    async def take(self, after: int, events: int) -> list[RecordedEvent]:
        """The next events, once there are so many."""
        taken: list[RecordedEvent] = []
        while len(taken) < events:
            self._arrived.clear()
            more = self.jetstream.take(Position(after + len(taken)), 100)
            taken += more
            if not more:
                await self._arrived.wait()
        return taken


@pytest.fixture
async def line(settings: Settings) -> AsyncGenerator[NatsLine]:
    """A line to NATS that is up."""
    connected = asyncio.Event()
    line_ = NatsLine(settings, "test subscriber", on_connected=connected.set)
    async with line_.kept_up():
        await connected.wait()
        yield line_


@pytest.fixture
def client(line: NatsLine) -> Client:
    """The connection of the line."""
    return line.client()


@pytest.fixture
async def stream(client: Client, keyring: Keyring, log_id: int) -> HandStream:
    """A stream that does not exist yet."""
    return HandStream(client, keyring, log_id)


@pytest.fixture
async def source(line: NatsLine, log_id: int) -> AsyncGenerator[Source]:
    """A source that runs and follows nothing yet."""
    source_ = Source(line, log_id)
    running = asyncio.create_task(source_.jetstream.run())
    yield source_
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest.fixture
async def events(
    postgres_log: PostgresLog, log_reader: LogReader, keyring: Keyring
) -> list[KeyedEvent]:
    """Six events of the log: five customers, the third erased."""
    writer = Writer(keyring)
    customers = [writer.a_customer() for _ in range(5)]
    await postgres_log.append([writer.group(writer.event(customer)) for customer in customers])
    erasure = writer.event(customers[2], 2, CustomerErased(positions=(3,)))
    await postgres_log.append([writer.group(erasure)])
    return await log_reader.read_after(Position(0), 100)


async def test_events_arrive_as_the_log_has_them(
    stream: HandStream, source: Source, events: list[KeyedEvent], keyring: Keyring
) -> None:
    await stream.make()
    source.jetstream.follow(1, Position(0))
    await stream.publish(*events)
    assert await source.take(0, 6) == [recorded(keyring, event) for event in events]


async def test_delivery_begins_behind_the_wanted_position(
    stream: HandStream, source: Source, events: list[KeyedEvent]
) -> None:
    await stream.make()
    await stream.publish(*events)
    source.jetstream.follow(1, Position(4))
    assert [event.position for event in await source.take(4, 2)] == [5, 6]


async def test_a_stream_that_comes_later_is_followed(
    stream: HandStream, source: Source, events: list[KeyedEvent]
) -> None:
    source.jetstream.follow(1, Position(0))
    await stream.make()
    await stream.publish(*events)
    assert len(await source.take(0, 6)) == 6


async def test_a_stream_that_is_made_again_is_followed(
    stream: HandStream, source: Source, events: list[KeyedEvent]
) -> None:
    await stream.make()
    source.jetstream.follow(1, Position(0))
    await stream.publish(*events[:3])
    assert len(await source.take(0, 3)) == 3
    await stream.drop()
    await stream.make()
    await stream.publish(*events)
    assert [event.position for event in await source.take(3, 3)] == [4, 5, 6]


async def test_delivery_survives_a_lost_connection(
    stream: HandStream, source: Source, events: list[KeyedEvent], client: Client
) -> None:
    await stream.make()
    source.jetstream.follow(1, Position(0))
    await stream.publish(*events[:3])
    assert len(await source.take(0, 3)) == 3
    await client.force_reconnect()
    await until(lambda: client.is_connected)
    await stream.publish(*events[3:])
    assert len(await source.take(3, 3)) == 3


async def test_another_generation_is_another_stream(
    stream: HandStream,
    source: Source,
    events: list[KeyedEvent],
    client: Client,
    keyring: Keyring,
    log_id: int,
) -> None:
    await stream.make()
    await stream.publish(*events)
    source.jetstream.follow(1, Position(0))
    assert len(await source.take(0, 6)) == 6
    second = HandStream(client, keyring, log_id, 2)
    await second.make()
    source.jetstream.follow(2, Position(3))
    await second.publish(*events)
    assert [event.position for event in await source.take(3, 3)] == [4, 5, 6]


async def test_a_hole_is_a_gap_and_not_an_event(
    stream: HandStream, source: Source, events: list[KeyedEvent]
) -> None:
    await stream.make()
    await stream.publish(*events)
    await stream.delete(2)
    source.jetstream.follow(1, Position(0))
    assert [event.position for event in await source.take(0, 1)] == [1]
    await until(lambda: source.jetstream.has_gap(Position(1)))
    assert source.jetstream.take(Position(1), 100) == []
    assert len(await source.take(2, 4)) == 4


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"specversion":"1.0"}'])
async def test_what_cannot_be_decoded_is_a_gap(
    stream: HandStream, source: Source, events: list[KeyedEvent], client: Client, body: bytes
) -> None:
    await stream.make()
    source.jetstream.follow(1, Position(0))
    subject = f"customers.{events[0].stored.log_id}.1.acme.00.created"
    await client.publish(subject, body, headers={POSITION_HEADER: "1"})
    await stream.publish(*events[1:])
    await until(lambda: source.jetstream.has_some(Position(1)))
    assert source.jetstream.take(Position(0), 100) == []
    assert source.jetstream.has_gap(Position(0))
    assert len(await source.take(1, 5)) == 5


async def test_an_erased_event_arrives_without_its_data(
    stream: HandStream,
    source: Source,
    events: list[KeyedEvent],
) -> None:
    await stream.make()
    unreadable = KeyedEvent(stored=events[0].stored, wrapped_key=None, erased=True)
    source.jetstream.follow(1, Position(0))
    await stream.publish(unreadable)
    (event,) = await source.take(0, 1)
    assert event.event is None


async def test_a_long_stream_is_pulled_piece_by_piece(
    stream: HandStream,
    source: Source,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    keyring: Keyring,
) -> None:
    writer = Writer(keyring)
    for _ in range(5):
        await postgres_log.append([writer.creation() for _ in range(500)])
    await stream.make()
    await stream.publish(*await log_reader.read_after(Position(0), 2500))
    source.jetstream.follow(1, Position(0))
    taken = await source.take(0, 2500)
    assert [event.position for event in taken] == list(range(1, 2501))


async def test_nothing_is_delivered_while_nats_is_away(log_id: int) -> None:
    def away() -> Client:
        raise nats.errors.ConnectionClosedError

    source = JetStreamSource(away, log_id, lambda: None)
    source.follow(1, Position(0))
    running = asyncio.create_task(source.run())
    ended, _ = await asyncio.wait([running], timeout=0.1)
    assert not ended
    assert source.take(Position(0), 10) == []
    running.cancel()
