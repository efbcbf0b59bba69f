"""Messages of somebody else neither lead a subscriber astray nor pass for a lost history."""

import json

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from events.append import KeyedEvent
from events.cloudevents import render_cloud_event
from events.errors import EventsMissing
from events.keys import Keyring
from events.messages import NotAnEvent, position_of, read_cloud_event
from events.reading import open_stored
from events.subscriber import CustomerSubscriber
from tests.support.builders import ACME, GLOBEX
from tests.support.histories import a_history, of_workspace
from tests.support.stream import HandStream
from tests.support.subscribing import filling, place_of, read, read_positions


@pytest.fixture
def history(log_id: int) -> list[KeyedEvent]:
    """Eight events; those at odd positions are of globex."""
    return a_history(log_id, 8, workspaces=(ACME, GLOBEX))


def body_of(keyring: Keyring, keyed: KeyedEvent, **members: object) -> bytes:
    """The body of an event's message, with other members than it has."""
    body = render_cloud_event(keyed.stored, open_stored(keyring, keyed), "http://127.0.0.1")
    return json.dumps(json.loads(body) | members).encode()


@pytest.mark.parametrize("position", ["1000000000000000", "8", "6", "5", "2", "-1"])
async def test_a_message_that_says_it_stands_elsewhere_is_a_hole(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    keyring: Keyring,
    position: str,
) -> None:
    await stream.publish(*history[:6])
    event = history[6]
    await stream.publish_as(
        event,
        body_of(keyring, event),
        position=position,
        digest=event.stored.digest.hex(),
        chain=event.stored.chain.hex(),
    )
    await stream.publish(history[7])
    async with CustomerSubscriber(client, log_id=log_id, workspace_id=GLOBEX) as subscriber:
        assert await read_positions(subscriber, 3) == [1, 3, 5]
        with pytest.raises(EventsMissing, match="message 7 is no event of the log"):
            await anext(subscriber)
        assert subscriber.place == place_of(history[4])
    fill = filling(keyring, of_workspace(history, GLOBEX))
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=GLOBEX, fill=fill
    ) as subscriber:
        assert await read_positions(subscriber, 4) == [1, 3, 5, 7]


async def test_a_message_that_says_it_stands_at_the_place_is_no_other_history(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, keyring: Keyring
) -> None:
    await stream.publish(*history[:6])
    forged = body_of(keyring, history[6])
    await stream.publish_as(history[6], forged, position="5", digest="00" * 32, chain="00" * 32)
    await stream.delete(5)
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=GLOBEX, start=place_of(history[4])
    ) as subscriber:
        with pytest.raises(EventsMissing, match="message 7 is no event of the log"):
            await anext(subscriber)


@pytest.mark.parametrize("member", ["digest", "chain"])
async def test_a_message_without_a_whole_hash_is_a_hole(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    keyring: Keyring,
    member: str,
) -> None:
    event = history[0]
    hashes = {"digest": event.stored.digest.hex(), "chain": event.stored.chain.hex()}
    hashes[member] = hashes[member][:16]
    await stream.publish_as(event, body_of(keyring, event), position="1", **hashes)
    async with CustomerSubscriber(client, log_id=log_id, workspace_id=GLOBEX) as subscriber:
        with pytest.raises(EventsMissing, match="message 1 is no event of the log"):
            await anext(subscriber)


@pytest.mark.parametrize("number", [0, -5])
async def test_a_count_that_went_back_beyond_the_first_event_is_no_other_history(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    keyring: Keyring,
    number: int,
) -> None:
    await stream.publish(*history[:4])
    forged = body_of(keyring, history[4], sequence=str(number))
    await stream.publish_as(history[4], forged, position="5", digest="00" * 32, chain="00" * 32)
    await stream.delete(3)
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=GLOBEX, start=place_of(history[2])
    ) as subscriber:
        with pytest.raises(EventsMissing, match="message 5 is no event of the log"):
            await anext(subscriber)


@pytest.mark.parametrize("number", [0, -5])
def test_counts_begin_with_one(history: list[KeyedEvent], keyring: Keyring, number: int) -> None:
    assert read_cloud_event(body_of(keyring, history[0])).workspace_sequence == 1
    for members in ({"sequence": str(number)}, {"streamversion": number}):
        with pytest.raises(NotAnEvent):
            read_cloud_event(body_of(keyring, history[0], **members))


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.CUSTOMERS_1_1.globex.1.7.3.1700000000000000000.0",
        "$JS.ACK.hub.ACCOUNT.CUSTOMERS_1_1.globex.1.7.3.1700000000000000000.0",
        "$JS.ACK._.ACCOUNT.CUSTOMERS_1_1.globex.1.7.3.1700000000000000000.0.random",
    ],
)
def test_where_a_message_stands_is_known_from_every_version_of_nats(reply: str) -> None:
    message = Msg(Client(), reply=reply)
    assert position_of(message) == message.metadata.sequence.stream == 7


@pytest.mark.parametrize("reply", ["", "_INBOX.1.2.3.4.5.6.7.8", "$JS.ACK.7", "$JS.ACK" + ".x" * 9])
def test_what_no_stream_delivered_stands_nowhere(reply: str) -> None:
    with pytest.raises(NotAnEvent):
        position_of(Msg(Client(), reply=reply))


async def test_what_was_published_twice_is_handed_out_once(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, keyring: Keyring
) -> None:
    await stream.publish(*history[:3], *history[:3], *history[2:], *history)
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        await read(subscriber, 3)
        with pytest.raises(EventsMissing, match="message 4 is no event of the log"):
            await anext(subscriber)
    for workspace_id, wanted in ((None, history), (GLOBEX, of_workspace(history, GLOBEX))):
        async with CustomerSubscriber(
            client, log_id=log_id, workspace_id=workspace_id, fill=filling(keyring, wanted)
        ) as subscriber:
            seen = await read_positions(subscriber, len(wanted))
        assert seen == [keyed.stored.position for keyed in wanted]
