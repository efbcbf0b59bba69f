"""What befalls a stream: the relay mends it from the log, or says what a person has to do."""

import re
import shutil
from collections.abc import Generator

import nats
import psycopg
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from events import jetstream
from events.batches import WRONG_LAST_SEQUENCE, Message, Publisher, PublishError
from events.customer import CustomerErased
from events.envelope import Position
from events.log import LogReader, PostgresLog
from events.relay import Relay
from events.rendering import LIGHT_MAX
from runtime.nats import NatsLine
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.builders import Writer
from tests.support.command import Command
from tests.support.nats_server import NatsServer, nats_with
from tests.support.relaying import (
    a_renderer,
    publish_creations,
    published,
    relaying,
    until_published,
)
from tests.support.signals import until
from tests.support.writing import create

SOON = 0.05


@pytest.fixture
def stream_name(settings: Settings) -> str:
    """The name of this test's stream."""
    return jetstream.stream_name(settings.log_id, 1)


@pytest.fixture
def own_nats() -> Generator[NatsServer]:
    """A NATS server of this test's own."""
    with nats_with() as server:
        yield server


async def fill(settings: Settings, client: Client, messages: list[Message]) -> None:
    """Make the stream and put in these messages, whatever the log says."""
    await client.jetstream().add_stream(jetstream.stream_config(settings.log_id, 1, 1))
    name = jetstream.stream_name(settings.log_id, 1)
    await Publisher(lambda: client).publish(name, messages, last_sequence=0, wait_seconds=10)


async def messages_of(settings: Settings, log_reader: LogReader) -> list[Message]:
    """The messages of all events of the log."""
    events = await log_reader.read_after(Position(0), 10)
    return [a_renderer(settings).message(keyed, 1) for keyed in events]


async def said(relay: Relay, condition: str) -> str:
    """What the relay says as soon as it is in this condition."""
    await until(lambda: relay.state.condition == condition)
    return relay.state.words


async def lacks(relay: Relay, words: str) -> None:
    """Return when the relay says so of a message that is missing.

    One that goes between two looks of a check may first be said to differ.
    """
    await until(
        lambda: relay.state.condition == "damaged" and f"lacks {words}" in relay.state.words
    )


async def test_a_hole_that_an_erasure_accounts_for_is_no_fault(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    writer: Writer,
    stream_name: str,
    database_url: str,
) -> None:
    person = writer.a_customer()
    await postgres_log.append([writer.group(writer.event(person)), writer.creation()])
    erased = writer.event(person, 2, CustomerErased(positions=(1,)))
    await postgres_log.append([writer.group(erased)])
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("DELETE FROM keyring.data_keys WHERE stream_id = %s", [person])
    async with relaying(settings, client):
        await until_published(settings, client, 3)
    await client.jetstream().delete_msg(stream_name, 1)

    async with relaying(settings, client, audit_seconds=SOON) as relay:
        await postgres_log.append([writer.creation()])
        await until(lambda: relay.state.sequence == 4)
        assert (await said(relay, "publishing")) == ""
        # The erasure itself accounts for what was before it, and not for its own absence.
        await client.jetstream().delete_msg(stream_name, 3)
        await lacks(relay, "message 3")


async def test_a_message_that_is_missing_is_noticed_and_publishing_goes_on(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer, stream_name: str
) -> None:
    await postgres_log.append([writer.creation() for _ in range(5)])
    async with relaying(settings, client, audit_seconds=SOON) as relay:
        await until_published(settings, client, 5)
        await client.jetstream().delete_msg(stream_name, 2)
        await lacks(relay, "message 2, and no erasure accounts for that")

        await postgres_log.append([writer.creation()])
        await until_published(settings, client, 6)
        assert relay.state.condition == "damaged"

        # What it told to do mends it.
        await client.jetstream().delete_stream(stream_name)
        assert len(await published(settings, client, 6)) == 6
        await until(lambda: relay.state.condition == "publishing")


async def test_a_purge_that_leaves_the_end_is_noticed(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer, stream_name: str
) -> None:
    await postgres_log.append([writer.creation() for _ in range(5)])
    async with relaying(settings, client, audit_seconds=SOON) as relay:
        await until_published(settings, client, 5)
        await client.jetstream().purge_stream(stream_name, keep=2)
        await lacks(relay, "message 1")


async def test_a_stream_purged_of_everything_stops_the_relay(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer, stream_name: str
) -> None:
    await publish_creations(settings, client, postgres_log, writer, 3)
    await client.jetstream().purge_stream(stream_name)
    async with relaying(settings, client) as relay:
        assert "Delete the stream, and it is filled again" in await said(relay, "stopped")


async def test_a_message_that_was_changed_in_storage_is_noticed(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    stream_name: str,
) -> None:
    await postgres_log.append([writer.creation() for _ in range(5)])
    messages = await messages_of(settings, log_reader)
    messages[2] = replace(messages[2], body=messages[2].body.replace(b"jane@", b"jand@"))
    await fill(settings, client, messages)

    async with relaying(settings, client, audit_seconds=SOON) as relay:
        words = await said(relay, "damaged")
        assert words.startswith(
            f"Message 3 of JetStream stream {stream_name} is not what event 3 of"
        )


async def test_messages_published_under_another_public_url_are_no_fault(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
) -> None:
    await postgres_log.append([writer.creation() for _ in range(5)])
    before = replace(settings, public_url="https://before.example")
    await fill(settings, client, await messages_of(before, log_reader))
    async with relaying(settings, client, audit_seconds=SOON) as relay:
        await postgres_log.append([writer.creation()])
        await until(lambda: relay.state.sequence == 6)
        assert relay.state.condition == "publishing"


async def test_a_foreign_message_stops_the_relay_and_no_write(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation()])
    async with relaying(settings, client) as relay, running_api(settings) as api:
        await until_published(settings, client, 1)
        subject = f"customers.{settings.log_id}.1.acme.00.created"
        await client.jetstream().publish(subject, b"foreign")
        await create(with_key(api, make_key(settings)))
        relay.wake()
        words = await said(relay, "stopped")
        assert "somebody else published" in words
        assert "Is it the log: `customers relay new-generation`" in words
        assert (await api.post(CUSTOMERS, json={"email": "joe@example.com"})).status_code == 200

        command = "customers relay new-generation --reason 'somebody else published'"
        assert (await Command(settings=settings).shell(command)).code == 0
        await until_published(settings, client, 3, generation=2)


async def test_a_foreign_message_amid_those_sent_at_once_stops_the_relay(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    stream_name: str,
) -> None:
    await postgres_log.append([writer.creation() for _ in range(LIGHT_MAX)])
    messages = await messages_of(settings, log_reader)
    await fill(settings, client, [replace(messages[0], body=b"foreign", headers={})])
    with pytest.raises(PublishError) as refused:
        await Publisher(lambda: client).publish(
            stream_name, messages, last_sequence=0, wait_seconds=10, singly=True
        )
    assert refused.value.code in WRONG_LAST_SEQUENCE
    # All but the first found their place, so the end alone looks right.
    await until_published(settings, client, LIGHT_MAX)
    async with relaying(settings, client) as relay:
        assert f"Message 1 of JetStream stream {stream_name} is not" in await said(relay, "stopped")


async def test_a_stream_rolled_back_to_an_older_copy_is_filled_up_again(
    settings: Settings, postgres_log: PostgresLog, writer: Writer, own_nats: NatsServer
) -> None:
    settings = replace(settings, nats_url=own_nats.url)
    line = NatsLine(settings, "test relay")
    await postgres_log.append([writer.creation() for _ in range(3)])
    async with line.kept_up(), relaying(settings, line.client) as relay:
        await until(lambda: relay.state.sequence == 3)
        store, copy = own_nats.store, own_nats.folder / "copy"
        own_nats.stop()
        shutil.copytree(store, copy)
        own_nats.start()
        await postgres_log.append([writer.creation() for _ in range(3)])
        relay.wake()
        await until(lambda: relay.state.sequence == 6)
        before = await all_bodies(own_nats, settings, 6)

        own_nats.stop()
        shutil.rmtree(store)
        shutil.move(copy, store)
        own_nats.start()
        assert await all_bodies(own_nats, settings, 6) == before
        await until(lambda: relay.state.condition == "publishing")


async def test_a_message_that_nats_passes_over_because_a_bit_of_it_flipped_is_noticed(
    settings: Settings, postgres_log: PostgresLog, writer: Writer, own_nats: NatsServer
) -> None:
    settings = replace(settings, nats_url=own_nats.url)
    line = NatsLine(settings, "test relay")
    await postgres_log.append([writer.creation() for _ in range(5)])
    async with line.kept_up(), relaying(settings, line.client, audit_seconds=SOON) as relay:
        await until(lambda: relay.state.sequence == 5)
        own_nats.stop()
        block = next(own_nats.store.rglob("1.blk"))
        content = block.read_bytes()
        third = [found.start() for found in re.finditer(b"specversion", content)][2]
        block.write_bytes(content[:third] + b"S" + content[third + 1 :])
        own_nats.start()

        words = await said(relay, "damaged")
        assert words.startswith("Message 3 of JetStream stream")
        assert "cannot be read" in words


async def all_bodies(server: NatsServer, settings: Settings, count: int) -> list[bytes]:
    """The bodies of so many messages, waiting for them."""
    client = await nats.connect(server.url)
    try:
        return [message.data for message in await published(settings, client, count)]
    finally:
        await client.close()
