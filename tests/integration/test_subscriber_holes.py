"""What a stream lacks or gets wrong is never skipped: it is supplied, or it is an error."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from events.append import KeyedEvent
from events.cloudevents import render_cloud_event
from events.envelope import Position, RecordedEvent, WorkspaceId
from events.errors import EventsMissing, LostHistory, UnknownEvent
from events.jetstream import POSITION_HEADER
from events.keys import Keyring
from events.reading import open_stored, recorded
from events.subscriber import BEGINNING, CustomerSubscriber, Place
from tests.support.builders import ACME, GLOBEX
from tests.support.histories import a_history
from tests.support.stream import HandStream
from tests.support.subscribing import filling, place_of, positions, read, read_positions


@pytest.fixture
def history(log_id: int) -> list[KeyedEvent]:
    """Eight events; those at odd positions are of globex."""
    return a_history(log_id, 8, workspaces=(ACME, GLOBEX))


def test_positions_and_workspaces(history: list[KeyedEvent]) -> None:
    assert [keyed.stored.workspace_sequence for keyed in history] == [1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
async def test_behind_a_hole_nothing_is_handed_out(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    workspace_id: WorkspaceId | None,
) -> None:
    await stream.publish(*history)
    await stream.delete(5)
    kept: list[Place] = []

    async def keep(place: Place) -> None:
        kept.append(place)

    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=workspace_id, checkpoint=keep
    ) as subscriber:
        await read(subscriber, 2 if workspace_id else 4)
        last = 3 if workspace_id else 4
        for _ in range(2):
            with pytest.raises(EventsMissing, match=rf"behind position {last}\b.* GET /events"):
                await anext(subscriber)
        assert subscriber.place.position == last
    assert kept[-1] == subscriber.place


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
async def test_a_hole_of_many_is_filled_from_elsewhere(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    keyring: Keyring,
    workspace_id: WorkspaceId | None,
) -> None:
    await stream.publish(*history)
    for position in (1, 2, 4, 5, 6):
        await stream.delete(position)
    wanted = [k for k in history if workspace_id in {None, k.stored.workspace_id}]
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=workspace_id, fill=filling(keyring, wanted)
    ) as subscriber:
        seen = await read_positions(subscriber, len(wanted))
    assert seen == [keyed.stored.position for keyed in wanted]


@pytest.mark.parametrize("at_once", [2, 8])
async def test_a_fill_may_give_many_at_once(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    keyring: Keyring,
    at_once: int,
) -> None:
    await stream.publish(*history)
    for position in (1, 2, 4, 5, 6):
        await stream.delete(position)
    kept: list[int] = []

    async def keep(place: Place) -> None:
        kept.append(place.position)

    fill = filling(keyring, history, at_once)
    async with CustomerSubscriber(client, log_id=log_id, checkpoint=keep, fill=fill) as subscriber:
        assert await read_positions(subscriber, 8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert kept == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("workspace_id", [None, GLOBEX])
@pytest.mark.parametrize("start", [BEGINNING, Place(), Place(position=Position(0), generation=1)])
async def test_a_hole_at_the_very_beginning_is_one_too(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    workspace_id: WorkspaceId | None,
    start: Place,
) -> None:
    await stream.publish(*history)
    await stream.delete(1)
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=workspace_id, start=start
    ) as subscriber:
        with pytest.raises(EventsMissing, match="behind position 0 "):
            await anext(subscriber)


async def test_a_fill_that_gives_nothing_is_asked_again_and_complained_of_once(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    keyring: Keyring,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await stream.publish(*history)
    await stream.delete(3)
    give = filling(keyring, history)
    asked: list[Place] = []

    async def fill(place: Place) -> list[RecordedEvent]:
        asked.append(place)
        return await give(place) if len(asked) > 2 else []

    async with CustomerSubscriber(client, log_id=log_id, fill=fill) as subscriber:
        assert await read_positions(subscriber, 8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [place.position for place in asked] == [2, 2, 2]
    (line,) = [record for record in caplog.records if record.name == "customers.subscriber"]
    assert line.levelname == "WARNING"
    assert "lacks events behind position 2" in line.getMessage()


async def test_of_all_workspaces_what_is_filled_must_say_where_it_stands(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, keyring: Keyring
) -> None:
    await stream.publish(*history)
    await stream.delete(3)
    unplaced = replace(recorded(keyring, history[2]), position=Position(0), digest=b"", chain=b"")

    async def fill(_: Place) -> list[RecordedEvent]:
        return [unplaced]

    async with CustomerSubscriber(client, log_id=log_id, fill=fill) as subscriber:
        await read(subscriber, 2)
        with pytest.raises(ValueError, match="position"):
            await anext(subscriber)


async def test_before_a_hole_in_what_is_filled_nothing_is_left_out(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, keyring: Keyring
) -> None:
    await stream.publish(*history)
    for position in (1, 2, 3, 4):
        await stream.delete(position)
    fill = filling(keyring, [*history[:2], *history[3:]], 8)
    async with CustomerSubscriber(client, log_id=log_id, fill=fill) as subscriber:
        batches = subscriber.batches()
        assert positions(await anext(batches)) == [1, 2]
        assert subscriber.place.position == 2
        with pytest.raises(EventsMissing, match="what was to fill the hole has a hole too"):
            await anext(batches)


async def test_what_is_filled_need_not_say_where_it_stands(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    keyring: Keyring,
) -> None:
    await stream.publish(*history)
    await stream.delete(3)
    globex = [keyed for keyed in history if keyed.stored.workspace_id == GLOBEX]
    give = filling(keyring, globex)

    async def fill(place: Place) -> list[object]:
        return [
            replace(event, position=Position(0), digest=b"", chain=b"")
            for event in await give(place)
        ]

    async with CustomerSubscriber(
        client,
        log_id=log_id,
        workspace_id=GLOBEX,
        fill=fill,  # pyright: ignore[reportArgumentType] - replace loses the type
    ) as subscriber:
        assert await read_positions(subscriber, 2) == [1, 0]
        place = subscriber.place
        assert place == replace(place_of(history[0]), workspace_sequence=2)
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=GLOBEX, start=place
    ) as subscriber:
        assert await read_positions(subscriber, 2) == [5, 7]


async def test_a_fill_that_lacks_the_event_too_is_no_way_around_the_hole(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, keyring: Keyring
) -> None:
    await stream.publish(*history)
    await stream.delete(1)
    async with CustomerSubscriber(
        client, log_id=log_id, fill=filling(keyring, history[1:])
    ) as subscriber:
        with pytest.raises(EventsMissing):
            await anext(subscriber)


class Lossy(Client):
    """A connection that loses the message of position 3 when it comes for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: list[str] = []

    async def subscribe(self, *arguments: Any, **options: Any) -> Subscription:
        """Subscribe to a subject as ever, but for that message."""
        receive: Callable[[Msg], Awaitable[None]] = options["cb"]

        async def pass_on(message: Msg) -> None:
            position = (message.headers or {}).get(POSITION_HEADER)
            if position == "3" and not self.lost:
                self.lost.append(position)
            else:
                await receive(message)

        return await super().subscribe(*arguments, **options | {"cb": pass_on})


async def test_what_got_lost_on_its_way_is_asked_for_once_more(
    stream: HandStream, history: list[KeyedEvent], nats_url: str, log_id: int
) -> None:
    lossy = Lossy()
    await lossy.connect(nats_url)
    await stream.publish(*history)
    async with CustomerSubscriber(lossy, log_id=log_id) as subscriber:
        assert await read_positions(subscriber, 8) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert lossy.lost == ["3"]
    await lossy.close()


@pytest.mark.parametrize("headers", [{}, {"position": "three"}, {"position": "3"}])
@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"specversion":"1.0"}'])
async def test_a_message_that_is_no_event_is_a_hole(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    body: bytes,
    headers: dict[str, str],
    keyring: Keyring,
) -> None:
    await stream.publish(*history[:2])
    await stream.publish_as(history[2], body, **headers)
    await stream.publish(*history[3:])
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        await read(subscriber, 2)
        with pytest.raises(EventsMissing, match="message 3 is no event of the log"):
            await anext(subscriber)
    async with CustomerSubscriber(
        client, log_id=log_id, fill=filling(keyring, history)
    ) as subscriber:
        assert await read_positions(subscriber, 8) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_foreign_message_that_looks_like_an_event_does_not_follow(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, keyring: Keyring
) -> None:
    forged = a_history(log_id, 3)[2]
    await stream.publish(*history[:2], forged, *history[3:])
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        await read(subscriber, 2)
        with pytest.raises(EventsMissing, match="event 3 is another than the log's"):
            await anext(subscriber)
    async with CustomerSubscriber(
        client, log_id=log_id, fill=filling(keyring, history)
    ) as subscriber:
        events = await read(subscriber, 8)
    assert [event.chain for event in events] == [keyed.stored.chain for keyed in history]


async def test_behind_a_foreign_message_at_the_end_the_log_is_asked_again(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int, keyring: Keyring
) -> None:
    known = history[:2]
    await stream.publish(*known)
    await stream.publish_as(history[2], b"spam")
    async with CustomerSubscriber(
        client, log_id=log_id, fill=filling(keyring, known)
    ) as subscriber:
        await read(subscriber, 2)
        known.append(history[2])
        assert await read_positions(subscriber, 1) == [3]


@pytest.mark.parametrize(
    ("known", "unknown"), [("/CustomerCreated/1", "/CustomerCreated/2"), ("Created", "Cloned")]
)
async def test_an_event_this_build_does_not_know_is_never_skipped(
    stream: HandStream,
    history: list[KeyedEvent],
    client: Client,
    log_id: int,
    keyring: Keyring,
    known: str,
    unknown: str,
) -> None:
    await stream.publish(history[0])
    event = history[1].stored
    data = open_stored(keyring, history[1]) or b""
    body = render_cloud_event(event, data, "http://127.0.0.1").replace(
        known.encode(), unknown.encode()
    )
    await stream.publish_as(
        history[1], body, position="2", digest=event.digest.hex(), chain=event.chain.hex()
    )
    await stream.publish(*history[2:])
    async with CustomerSubscriber(client, log_id=log_id) as subscriber:
        await anext(subscriber)
        for _ in range(2):
            with pytest.raises(UnknownEvent, match="Upgrade this process"):
                await anext(subscriber)


async def test_a_place_that_was_erased_is_proven_by_what_follows_it(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    await stream.publish(*history)
    await stream.delete(4)
    start = place_of(history[3])
    async with CustomerSubscriber(client, log_id=log_id, start=start) as subscriber:
        assert await read_positions(subscriber, 1) == [5]
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=ACME, start=start
    ) as subscriber:
        assert await read_positions(subscriber, 1) == [6]
    elsewhere = place_of(a_history(log_id, 4)[3])
    async with CustomerSubscriber(client, log_id=log_id, start=elsewhere) as subscriber:
        with pytest.raises(LostHistory):
            await anext(subscriber)


async def test_behind_an_erased_place_a_further_hole_is_still_one(
    stream: HandStream, history: list[KeyedEvent], client: Client, log_id: int
) -> None:
    await stream.publish(*history)
    await stream.delete(4)
    await stream.delete(6)
    async with CustomerSubscriber(
        client, log_id=log_id, workspace_id=ACME, start=place_of(history[3])
    ) as subscriber:
        with pytest.raises(EventsMissing, match="event 2 of the workspace"):
            await anext(subscriber)
