"""A subscriber reads on by itself, whatever happens to its connection, the server or the stream."""

import asyncio
import shutil
from collections.abc import Generator
from pathlib import Path

import nats
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from events.append import KeyedEvent
from events.envelope import WorkspaceId
from events.errors import LostHistory
from events.jetstream import stream_name
from events.keys import Keyring
from events.subscriber import BEGINNING, NOW, CustomerSubscriber, Place
from tests.support.builders import ACME, GLOBEX
from tests.support.histories import a_history
from tests.support.nats_server import NatsServer, nats_with
from tests.support.signals import until
from tests.support.stream import HandStream
from tests.support.subscribing import place_of, read, read_positions

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def nats_url(broker: NatsServer) -> str:
    """A server that these tests may stop."""
    return broker.url


@pytest.fixture
async def stream(client: Client, keyring: Keyring, log_id: int) -> HandStream:
    """A stream that does not exist yet."""
    return HandStream(client, keyring, log_id)


@pytest.fixture
async def second(client: Client, keyring: Keyring, log_id: int) -> HandStream:
    """The stream of generation 2, which does not exist yet."""
    return HandStream(client, keyring, log_id, 2)


@pytest.fixture
def history(log_id: int) -> list[KeyedEvent]:
    """Eight events; those at odd positions are of globex."""
    return a_history(log_id, 8, workspaces=(ACME, GLOBEX))


async def restart(broker: NatsServer, client: Client) -> None:
    """Start a server that was ended, and return when the client has noticed both."""
    await until(lambda: not client.is_connected)
    broker.start()
    await until(lambda: client.is_connected)


async def test_a_stream_that_does_not_exist_yet_is_waited_for(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        reading = asyncio.create_task(read_positions(subscriber, 8))
        await client.flush()
        await stream.make()
        await stream.publish(*history)
        assert await reading == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_reading_survives_a_lost_connection(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    await stream.make()
    await stream.publish(*history[:4])
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        await read(subscriber, 2)
        await client.force_reconnect()
        await until(lambda: client.is_connected)
        await stream.publish(*history[4:])
        assert await read_positions(subscriber, 6) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill])
async def test_reading_survives_the_end_of_the_server(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    broker: NatsServer,
    log_id: int,
    workspace_id: WorkspaceId | None,
    end: object,
) -> None:
    assert callable(end)
    await stream.make()
    await stream.publish(*history[:4])
    async with CustomerSubscriber(client, log_id=log_id, workspace_id=workspace_id) as subscriber:
        await read(subscriber, 2)
        end(broker)
        await restart(broker, client)
        await stream.publish(*history[4:])
        rest = [5, 7] if workspace_id else [3, 4, 5, 6, 7, 8]
        assert await read_positions(subscriber, len(rest)) == rest


async def test_reading_survives_the_loss_of_the_consumer(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    await stream.make()
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        await stream.publish(*history[:4])
        await read(subscriber, 4)
        await stream.drop_consumers()
        await stream.publish(*history[4:])
        assert await read_positions(subscriber, 4) == [5, 6, 7, 8]


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
async def test_reading_goes_on_in_a_stream_that_is_filled_again(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    workspace_id: WorkspaceId | None,
) -> None:
    await stream.make()
    async with CustomerSubscriber(client, log_id=log_id, workspace_id=workspace_id) as subscriber:
        await stream.publish(*history[:5])
        await read(subscriber, 3 if workspace_id else 5)
        await stream.drop()
        await stream.make()
        await stream.publish(*history[:2])
        await until(lambda: subscriber.heard_at > 0)
        await stream.publish(*history[2:])
        rest = [7] if workspace_id else [6, 7, 8]
        assert await read_positions(subscriber, len(rest)) == rest


async def test_reading_goes_on_when_jetstream_has_lost_its_tail(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    broker: NatsServer,
    log_id: int,
    tmp_path: Path,
) -> None:
    await stream.make()
    await stream.publish(*history[:3])
    store, copy = broker.store, tmp_path / "copy"
    broker.stop()
    shutil.copytree(store, copy)
    await restart(broker, client)
    await stream.publish(*history[3:6])
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        assert await read_positions(subscriber, 6) == [1, 2, 3, 4, 5, 6]
        broker.kill()
        shutil.rmtree(store)
        shutil.copytree(copy, store)
        await restart(broker, client)
        info = await client.jetstream().stream_info(stream_name(log_id, 1))
        assert info.state.last_seq == 3
        await stream.publish(*history[3:])
        assert await read_positions(subscriber, 2) == [7, 8]


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
@pytest.mark.parametrize("was_away", [False, True])
async def test_a_newer_generation_is_followed_behind_the_place(
    stream: HandStream,
    second: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    workspace_id: WorkspaceId | None,
    was_away: bool,
) -> None:
    await stream.make()
    await stream.publish(*history[:5])
    forked = a_history(log_id, 5, behind=history[:5], workspaces=(ACME, GLOBEX))
    own = [k for k in forked if workspace_id in {None, k.stored.workspace_id}]
    known = 3 if workspace_id else 5
    start: Place = BEGINNING
    if was_away:
        async with CustomerSubscriber(
            client, log_id=log_id, workspace_id=workspace_id
        ) as subscriber:
            await read(subscriber, known)
            start = subscriber.place
        await second.make()
        await second.publish(*forked)
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=workspace_id, start=start
    ) as subscriber:
        if not was_away:
            await read(subscriber, known)
            await second.make()
            await second.publish(*forked)
        events = await read(subscriber, len(own) - known)
        assert subscriber.place.generation == 2
    assert [event.chain for event in events] == [keyed.stored.chain for keyed in own[known:]]


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
async def test_a_newer_generation_without_what_was_read_is_an_error(
    stream: HandStream,
    second: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    workspace_id: WorkspaceId | None,
) -> None:
    await stream.make()
    await stream.publish(*history[:7])
    # Of acme since the fork, where globex had its events: none of globex' stands at its place.
    forked = a_history(log_id, 4, behind=history[:4], workspaces=(ACME,))
    forked = a_history(log_id, 3, behind=forked, workspaces=(GLOBEX,))
    async with CustomerSubscriber(client, log_id=log_id, workspace_id=workspace_id) as subscriber:
        await read(subscriber, 4 if workspace_id else 7)
        await second.make()
        await second.publish(*forked)
        with pytest.raises(LostHistory, match=r"CUSTOMERS_.*_2 .* up to position 7") as raised:
            await anext(subscriber)
        assert raised.value.position == 7


async def test_in_a_newer_generation_an_erased_place_is_not_taken_on_trust(
    second: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    await second.make()
    await second.publish(*history)
    await second.delete(5)
    start = place_of(history[4])
    async with CustomerSubscriber(client, log_id=log_id, start=start) as subscriber:
        # The chain of the next event proves it.
        assert await read_positions(subscriber, 3) == [6, 7, 8]
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=GLOBEX, start=start
    ) as subscriber:
        with pytest.raises(LostHistory, match="generation 2 does not have that event"):
            await anext(subscriber)
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=GLOBEX, start=replace(start, generation=2)
    ) as subscriber:
        assert await read_positions(subscriber, 1) == [7]


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
async def test_another_history_in_the_same_stream_is_an_error(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    workspace_id: WorkspaceId | None,
) -> None:
    await stream.make()
    async with CustomerSubscriber(client, log_id=log_id, workspace_id=workspace_id) as subscriber:
        await stream.publish(*history[:5])
        await read(subscriber, 3 if workspace_id else 5)
        await stream.drop()
        await stream.make()
        await stream.publish(*a_history(log_id, 8, behind=history[:3], workspaces=(ACME, GLOBEX)))
        with pytest.raises(LostHistory):
            await anext(subscriber)


async def test_a_workspace_whose_count_went_back_has_another_history(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    forked = a_history(log_id, 6, behind=history[:2], workspaces=(ACME,))
    await stream.make()
    await stream.publish(*a_history(log_id, 1, behind=forked, workspaces=(GLOBEX,)))
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=GLOBEX, start=place_of(history[6])
    ) as subscriber:
        with pytest.raises(LostHistory, match="only 2 events"):
            await anext(subscriber)


async def test_from_now_on_means_the_newest_generation(
    stream: HandStream, second: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    await stream.make()
    await stream.publish(*history[:2])
    await second.make()
    await second.publish(*history[:5])
    async with CustomerSubscriber(client, log_id=log_id, start=NOW) as subscriber:
        assert subscriber.place == replace(place_of(history[4], 2), workspace_sequence=3)
        await second.publish(*history[5:])
        assert await read_positions(subscriber, 3) == [6, 7, 8]


async def test_generations_whose_streams_were_removed_are_passed_over(
    client: Client, keyring: Keyring, history: list[KeyedEvent], log_id: int
) -> None:
    fifth = HandStream(client, keyring, log_id, 5)
    await fifth.make()
    await fifth.publish(*history)
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        assert await read_positions(subscriber, 8) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(("newest", "was_away"), [(3, True), (9, True), (4, False)])
async def test_a_generation_that_has_no_stream_is_passed_over(
    stream: HandStream,
    client: Client,
    keyring: Keyring,
    history: list[KeyedEvent],
    log_id: int,
    newest: int,
    was_away: bool,
) -> None:
    later = HandStream(client, keyring, log_id, newest)
    await stream.make()
    await stream.publish(*history[:2])
    if was_away:
        await later.make()
        await later.publish(*history)
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        await read(subscriber, 2)
        if not was_away:
            await later.make()
            await later.publish(*history)
        assert await read_positions(subscriber, 6) == [3, 4, 5, 6, 7, 8]
        assert subscriber.place.generation == newest


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
async def test_a_newer_generation_that_is_shorter_is_waited_for_and_told(
    stream: HandStream,
    second: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    workspace_id: WorkspaceId | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await stream.make()
    await stream.publish(*history[:5])
    async with CustomerSubscriber(client, log_id=log_id, workspace_id=workspace_id) as subscriber:
        await read(subscriber, 3 if workspace_id else 5)
        await second.make()
        await second.publish(*history[:4])
        told = f"CUSTOMERS_{log_id}_2 has nothing yet from position 5 on"
        await until(lambda: told in caplog.text)
        await second.publish(*history[4:])
        assert await read_positions(subscriber, 1) == [7 if workspace_id else 6]


async def test_one_that_dies_amid_a_batch_reads_on_from_its_checkpoint(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    await stream.make()
    await stream.publish(*history)
    kept: list[Place] = [BEGINNING]
    handled: list[int] = []

    async def keep(place: Place) -> None:
        kept.append(place)

    async def follow(upto: int) -> None:
        async with CustomerSubscriber(
            client, log_id=log_id, start=kept[-1], checkpoint=keep, name="mine"
        ) as subscriber:
            async for event in subscriber:
                handled.append(event.position)
                if event.position == upto:
                    raise asyncio.CancelledError

    for upto in (3, 3, 6, 8):
        with pytest.raises(asyncio.CancelledError):
            await follow(upto)
    # The one whose handling was cut short comes again, and no other.
    assert handled == [1, 2, 3, 3, 3, 4, 5, 6, 6, 7, 8]


@pytest.fixture
def guarded() -> Generator[NatsServer]:
    """A server on which globex may make, pull and delete one consumer, and nothing else."""
    rights = {
        "publish": [
            "$JS.API.CONSUMER.CREATE.*.globex.customers.*.*.globex.>",
            "$JS.API.CONSUMER.MSG.NEXT.*.globex",
            "$JS.API.CONSUMER.DELETE.*.globex",
        ],
        "subscribe": ["_INBOX_globex.>"],
    }
    users = [
        {"user": "writer", "password": "writer"},
        {"user": "globex", "password": "globex", "permissions": rights},
    ]
    with nats_with(authorization={"users": users}) as server:
        yield server


async def test_the_rights_of_one_consumer_are_enough(
    history: list[KeyedEvent], guarded: NatsServer, keyring: Keyring, log_id: int
) -> None:
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    writer = await nats.connect(guarded.url, user="writer", password="writer")
    reader = await nats.connect(
        guarded.url,
        user="globex",
        password="globex",
        inbox_prefix="_INBOX_globex",
        error_cb=note,
    )
    stream = HandStream(writer, keyring, log_id)
    await stream.make()
    await stream.publish(*history)
    async with CustomerSubscriber(reader, log_id=log_id, workspace_id=GLOBEX) as subscriber:
        assert await read_positions(subscriber, 4) == [1, 3, 5, 7]
        second = HandStream(writer, keyring, log_id, 2)
        await second.make()
        await second.publish(*a_history(log_id, 1, behind=history, workspaces=(GLOBEX,)))
        assert await read_positions(subscriber, 1) == [9]
    assert refused == []
    assert await second.consumers() == []
    async with CustomerSubscriber(
        reader, log_id=log_id, workspace_id=GLOBEX, start=NOW
    ) as subscriber:
        assert subscriber.place.position == 9
    assert refused == []
    await reader.close()
    await writer.close()
