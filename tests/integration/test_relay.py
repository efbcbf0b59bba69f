"""The relay on a real log and a real broker: message p is event p, whatever happens."""

import msgspec
from msgspec.structs import replace
from nats.aio.client import Client

from events import jetstream
from events.chain import first_bad_position
from events.envelope import Position
from events.log import LogReader, PostgresLog
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.relaying import published, relaying
from tests.support.signals import until


async def test_message_p_is_log_event_p(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
) -> None:
    await postgres_log.append([writer.creation() for _ in range(3)])
    async with relaying(settings, client) as relay:
        await published(settings, client, 3)
        await postgres_log.append([writer.creation()])
        relay.wake()
        messages = await published(settings, client, 4)

    stored = [keyed.stored for keyed in await log_reader.read_after(Position(0), 10)]
    for message, event in zip(messages, stored, strict=True):
        assert message.headers is not None
        assert message.metadata.sequence.stream == event.position
        assert message.headers["Customers-Position"] == str(event.position)
        assert message.headers["Customers-Digest"] == event.digest.hex()
        assert message.headers["Customers-Chain"] == event.chain.hex()
        body = msgspec.json.decode(message.data)
        assert body["id"] == str(event.event_id)
        assert body["subject"] == str(event.stream_id)
        assert body["sequence"] == f"{event.workspace_sequence:020}"
        assert body["data"]["customer"]["email"] == "jane@example.com"
        partition = f"{event.stream_id.bytes[-1]:02x}"
        assert message.subject == f"customers.{settings.log_id}.1.acme.{partition}.created"
    assert first_bad_position(stored) is None


async def test_the_traceparent_of_a_request_is_passed_on(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced = writer.event(writer.a_customer())
    traced = replace(traced, metadata=b'{"traceparent":"%b"}' % traceparent.encode())
    await postgres_log.append([writer.group(traced), writer.creation()])
    async with relaying(settings, client):
        with_it, without = await published(settings, client, 2)

    assert with_it.headers is not None
    assert with_it.headers["traceparent"] == traceparent
    assert msgspec.json.decode(with_it.data)["traceparent"] == traceparent
    assert without.headers is not None
    assert "traceparent" not in without.headers
    assert "traceparent" not in msgspec.json.decode(without.data)


async def test_two_relays_publish_every_event_once(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    async with (
        relaying(settings, client) as one,
        relaying(settings, client) as other,
    ):
        for _ in range(5):
            await postgres_log.append([writer.creation() for _ in range(40)])
            one.wake()
            other.wake()
        messages = await published(settings, client, 200)

    positions = [message.metadata.sequence.stream for message in messages]
    assert positions == list(range(1, 201))


async def test_a_stream_that_lost_everything_is_filled_again(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation() for _ in range(5)])
    async with relaying(settings, client) as relay:
        before = await published(settings, client, 5)
        await client.jetstream().delete_stream(jetstream.stream_name(settings.log_id, 1))
        await postgres_log.append([writer.creation()])
        relay.wake()
        after = await published(settings, client, 6)

    assert [message.data for message in after[:5]] == [message.data for message in before]


async def test_a_stream_that_is_ahead_of_the_log_stops_the_relay(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    stream = client.jetstream()
    config = jetstream.stream_config(settings.log_id, 1, 1)
    await stream.add_stream(config)
    await client.jetstream().publish(f"customers.{settings.log_id}.1.acme.00.created", b"foreign")

    async with relaying(settings, client) as relay:
        await until(lambda: relay.state.condition == "stopped")
        assert "ends at 1, the log at 0" in relay.state.words
        await postgres_log.append([writer.creation() for _ in range(2)])
        relay.wake()
        await until(lambda: "is not event 1" in relay.state.words)

    assert (await stream.stream_info(config.name or "")).state.last_seq == 1


async def test_a_foreign_message_between_two_batches_stops_the_relay(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation()])
    async with relaying(settings, client) as relay:
        await published(settings, client, 1)
        subject = f"customers.{settings.log_id}.1.acme.00.created"
        await client.jetstream().publish(subject, b"foreign")
        await postgres_log.append([writer.creation() for _ in range(3)])
        relay.wake()
        await until(lambda: relay.state.condition == "stopped")

    assert "somebody else published" in relay.state.words


async def test_a_stream_that_is_lost_while_nothing_is_written_is_filled_again(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation() for _ in range(3)])
    async with relaying(settings, client):
        before = await published(settings, client, 3)
        await client.jetstream().delete_stream(jetstream.stream_name(settings.log_id, 1))
        after = await published(settings, client, 3)

    assert [message.data for message in after] == [message.data for message in before]


async def test_a_stream_with_a_message_missing_at_its_end_stops_the_relay(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation() for _ in range(3)])
    async with relaying(settings, client):
        await published(settings, client, 3)
    await client.jetstream().delete_msg(jetstream.stream_name(settings.log_id, 1), 3)
    async with relaying(settings, client) as relay:
        await until(lambda: relay.state.condition == "stopped")

    assert "ends at 3, but somebody deleted" in relay.state.words
