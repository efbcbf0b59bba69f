"""A subscriber reads every event of one workspace or of all, once and in order, from any place."""

import subprocess
import sys
from collections.abc import Awaitable, Callable

import msgspec
import nats.errors
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from events.append import KeyedEvent
from events.envelope import Position
from events.errors import ConnectionGone
from events.keys import Keyring
from events.messages import read_cloud_event
from events.reading import recorded
from events.subscriber import BEGINNING, NOW, CustomerSubscriber, Place
from runtime.ids import new_id
from tests.support.builders import ACME, GLOBEX, JANE
from tests.support.histories import a_history, of_workspace
from tests.support.signals import until
from tests.support.stream import HandStream
from tests.support.subscribing import place_of, positions, read, read_positions


@pytest.fixture
def history(log_id: int) -> list[KeyedEvent]:
    """Six events; the first, third and fifth are of globex."""
    return a_history(log_id, 6, workspaces=(ACME, GLOBEX))


def checkpoints() -> tuple[list[int], Callable[[Place], Awaitable[None]]]:
    """The positions that are kept, and what keeps them."""
    kept: list[int] = []

    async def keep(place: Place) -> None:
        kept.append(place.position)

    return kept, keep


async def test_events_arrive_as_the_log_has_them(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, keyring: Keyring
) -> None:
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        await stream.publish(*history[:3])
        events = await read(subscriber, 3)
        await stream.publish(*history[3:])
        events += await read(subscriber, 3)
    assert events == [recorded(keyring, keyed) for keyed in history]


async def test_of_one_workspace_nobody_elses_events_arrive(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, keyring: Keyring
) -> None:
    await stream.publish(*history)
    async with CustomerSubscriber(client, log_id=log_id, workspace_id=GLOBEX) as subscriber:
        events = await read(subscriber, 3)
        assert await stream.consumers() == [GLOBEX]
    assert events == [recorded(keyring, keyed) for keyed in of_workspace(history, GLOBEX)]
    assert await stream.consumers() == []


@pytest.mark.parametrize("chain", [b"", None])
@pytest.mark.parametrize("sequence", [True, False])
async def test_reading_begins_behind_any_place(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    chain: bytes | None,
    sequence: bool,
) -> None:
    await stream.publish(*history)
    start = place_of(history[2])
    start = replace(
        start,
        chain=start.chain[:8] if chain is None else chain,
        workspace_sequence=start.workspace_sequence if sequence else None,
    )
    async with CustomerSubscriber(client, log_id=log_id, start=start) as subscriber:
        assert await read_positions(subscriber, 3) == [4, 5, 6]
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=GLOBEX, start=start
    ) as subscriber:
        assert await read_positions(subscriber, 1) == [5]
        assert subscriber.place == place_of(history[4])


async def test_a_place_between_a_workspaces_own_events_is_one_too(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    await stream.publish(*history)
    start = Place(position=Position(4), workspace_sequence=2)
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=GLOBEX, start=start
    ) as subscriber:
        assert await read_positions(subscriber, 1) == [5]


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
async def test_from_now_on_only_what_comes_later_arrives(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, workspace_id: None
) -> None:
    await stream.publish(*history[:4])
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=workspace_id, start=NOW
    ) as subscriber:
        await stream.publish(*history[4:])
        assert (await anext(subscriber)).position == 5


async def test_where_now_was_is_checkpointed_before_anything_arrives(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    kept: list[Place] = []

    async def keep(place: Place) -> None:
        kept.append(place)

    await stream.publish(*history[:4])
    async with CustomerSubscriber(client, log_id=log_id, start=NOW, checkpoint=keep) as subscriber:
        assert kept == [replace(place_of(history[3]), workspace_sequence=2)]
        assert kept == [subscriber.place]
    async with CustomerSubscriber(client, log_id=log_id, start=kept[0]) as subscriber:
        await stream.publish(*history[4:])
        assert await read_positions(subscriber, 2) == [5, 6]


async def test_from_now_on_an_empty_stream_has_nothing_older(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    async with CustomerSubscriber(client, log_id=log_id, start=NOW) as subscriber:
        assert subscriber.place == BEGINNING
        await stream.publish(*history)
        assert await read_positions(subscriber, 6) == [1, 2, 3, 4, 5, 6]


async def test_reading_goes_on_from_a_place_that_was_stored(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    await stream.publish(*history)
    start, seen = BEGINNING, list[int]()
    for _ in history:
        async with CustomerSubscriber(client, log_id=log_id, start=start) as subscriber:
            seen += await read_positions(subscriber, 1)
            stored = msgspec.json.encode(subscriber.place)
        start = msgspec.json.decode(stored, type=Place)
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_an_event_is_checkpointed_when_the_next_one_is_asked_for(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    kept, keep = checkpoints()
    await stream.publish(*history)
    async with CustomerSubscriber(client, log_id=log_id, checkpoint=keep) as subscriber:
        async for event in subscriber:
            assert kept == list(range(1, event.position))
            if event.position == 3:
                break
        assert kept == [1, 2]
    assert kept == [1, 2, 3]


async def test_an_event_whose_handling_failed_is_not_checkpointed(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    kept, keep = checkpoints()

    async def fail() -> None:
        async with CustomerSubscriber(client, log_id=log_id, checkpoint=keep) as subscriber:
            await read(subscriber, 2)
            raise KeyError

    await stream.publish(*history)
    with pytest.raises(KeyError):
        await fail()
    assert kept == [1]


async def test_batches_hold_whatever_is_there(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    kept, keep = checkpoints()
    await stream.publish(*history)
    seen: list[int] = []
    async with CustomerSubscriber(client, log_id=log_id, checkpoint=keep) as subscriber:
        async for events in subscriber.batches(4):
            assert 1 <= len(events) <= 4
            seen += positions(events)
            if len(seen) == 6:
                break
    assert seen == [1, 2, 3, 4, 5, 6]
    assert kept[-1] == 6


async def test_a_long_stream_is_pulled_piece_by_piece(
    stream: HandStream, client: Client, log_id: int
) -> None:
    await stream.publish(*a_history(log_id, 3500))
    requests = await stream.requests_for_consumers()
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        assert await read_positions(subscriber, 3500) == list(range(1, 3501))
        await client.flush()
        assert requests.pending_msgs == 1


async def test_a_slow_reader_is_waited_for_and_loses_nothing(
    stream: HandStream, client: Client, log_id: int
) -> None:
    await stream.publish(*a_history(log_id, 3500))
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        await anext(subscriber)

        async def is_asked_no_more() -> bool:
            (consumer,) = await client.jetstream().consumers_info(f"CUSTOMERS_{log_id}_1")
            assert consumer.delivered is not None
            return consumer.num_waiting == 0 and consumer.delivered.consumer_seq > 1000

        # So much is kept for a reader that takes none, and no more is asked for.
        await until(is_asked_no_more)
        (consumer,) = await client.jetstream().consumers_info(f"CUSTOMERS_{log_id}_1")
        assert consumer.num_pending is not None
        assert consumer.num_pending >= 1500
        assert await read_positions(subscriber, 3499) == list(range(2, 3501))


async def test_large_events_are_pulled_some_at_a_time(
    stream: HandStream, client: Client, log_id: int
) -> None:
    large = replace(JANE, custom_fields={"notes": msgspec.Raw(b'"' + b"x" * 900_000 + b'"')})
    await stream.publish(*a_history(log_id, 40, data=large))
    requests = await stream.requests_for_consumers()
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        assert await read_positions(subscriber, 40) == list(range(1, 41))
        await client.flush()
        assert requests.pending_msgs == 1


async def test_an_erased_event_arrives_without_its_data(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    sealed = replace(history[0].stored, data_key_id=new_id())
    await stream.publish(KeyedEvent(stored=sealed, wrapped_key=None, erased=True))
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        event = await anext(subscriber)
    assert (event.position, event.event) == (1, None)


async def test_of_two_subscribers_with_one_name_both_read_everything(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    async with (
        CustomerSubscriber(client, log_id=log_id, name="one") as one,
        CustomerSubscriber(client, log_id=log_id, name="one") as two,
    ):
        for keyed in history[:2]:
            await stream.publish(keyed)
            assert (await anext(one)).position == (await anext(two)).position


async def test_nats_that_is_away_is_waited_for(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    answers: list[Client | None] = [None, client]

    def connection() -> Client:
        answer = answers.pop(0)
        if answer is None:
            raise nats.errors.ConnectionClosedError
        return answer

    await stream.publish(*history)
    async with CustomerSubscriber(connection, log_id=log_id) as subscriber:
        assert await read_positions(subscriber, 6) == [1, 2, 3, 4, 5, 6]
    assert answers == []


@pytest.mark.parametrize("start", [BEGINNING, NOW])
async def test_a_connection_that_was_closed_for_good_is_an_error(
    client: Client, log_id: int, start: Place
) -> None:
    await client.close()
    with pytest.raises(ConnectionGone, match="max_reconnect_attempts"):
        async with CustomerSubscriber(client, log_id=log_id, start=start) as subscriber:
            await anext(subscriber)


async def test_outside_of_async_with_nothing_is_waited_for(client: Client) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await anext(CustomerSubscriber(client))


async def test_a_body_alone_is_an_event_too(
    stream: HandStream, history: list[KeyedEvent], keyring: Keyring, client: Client, log_id: int
) -> None:
    await stream.publish(history[0])
    message = await client.jetstream().get_msg(f"CUSTOMERS_{log_id}_1", 1)
    unplaced = replace(recorded(keyring, history[0]), position=Position(0), digest=b"", chain=b"")
    assert read_cloud_event(message.data or b"") == unplaced


def test_a_process_that_only_subscribes_loads_neither_database_nor_web_server() -> None:
    script = (
        "import sys; from events.subscriber import CustomerSubscriber;"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert "nats" in loaded
    unwanted = {"psycopg", "psycopg_pool", "litestar", "uvicorn", "cryptography", "structlog"}
    assert not loaded & unwanted
