"""The feed and JetStream hold the same events, and a reader of the one goes on with the other."""

import asyncio

import httpx
import msgspec
import pytest
from msgspec import Raw, Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from events.keys import Keyring
from events.log import PostgresLog
from events.subscriber import CustomerSubscriber, Place
from runtime.settings import Settings
from tests.support.api import CUSTOMERS
from tests.support.builders import ACME, GLOBEX, Writer
from tests.support.feed import EVENTS, page, sequences
from tests.support.relaying import published, relaying, until_published
from tests.support.signals import until
from tests.support.writing import create


class Page(Struct):
    """A page of the feed, its events byte for byte."""

    data: list[Raw]


async def test_the_feed_has_byte_for_byte_what_jetstream_has(
    both: httpx.AsyncClient,
    settings: Settings,
    client: Client,
    keyring: Keyring,
    postgres_log: PostgresLog,
) -> None:
    traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    customer = f"{CUSTOMERS}/{await create(both, custom_fields={'n': 1.10, 'é': [None, {}]})}"
    await both.patch(customer, json={"lastName": "Dœ"}, headers=traced)
    await postgres_log.append([Writer(keyring, GLOBEX).creation()])
    await both.delete(customer, headers={"X-Actor": "clerk", "X-Reason": "asked"})
    await both.post(f"{customer}/restore")
    async with relaying(settings, client):
        messages = await published(settings, client, 5)

    answer = await both.get(EVENTS)

    fed = [bytes(event) for event in msgspec.json.decode(answer.content, type=Page).data]
    assert fed == [one.data for one in messages if ".acme." in one.subject]
    assert len(fed) == 4


async def subscribed(client: Client, hand_over: dict[str, object]) -> list[Msg]:
    """What arrives for a plain subscriber that does what the feed says."""
    arrived: list[Msg] = []

    async def arrive(message: Msg) -> None:
        arrived.append(message)

    await client.jetstream().subscribe(
        str(hand_over["subject"]),
        cb=arrive,
        stream=str(hand_over["stream"]),
        manual_ack=True,
        config=ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=int(str(hand_over["start_sequence"])),
            ack_policy=AckPolicy.NONE,
        ),
    )
    return arrived


async def test_who_reads_to_the_end_and_then_subscribes_gets_each_event_once(
    both: httpx.AsyncClient,
    settings: Settings,
    client: Client,
    keyring: Keyring,
    postgres_log: PostgresLog,
) -> None:
    mine, theirs = Writer(keyring), Writer(keyring, GLOBEX)
    is_enough = asyncio.Event()
    written = 0

    async def write() -> None:
        nonlocal written
        while not is_enough.is_set() or written < 60:
            await postgres_log.append([theirs.creation(), mine.creation(), mine.creation()])
            written += 2

    async with relaying(settings, client):
        await postgres_log.append([theirs.creation()])
        await published(settings, client, 1)
        writing = asyncio.create_task(write())
        seen: list[int] = []
        meta: dict[str, object] = {"has_more": True}
        while meta["has_more"] or len(seen) < 20:
            start = {"after": meta["next_cursor"]} if seen else {}
            # First some small pages, then ones so large that no writer keeps ahead of them.
            limit = 7 if len(seen) < 20 else 500
            events, meta = await page(both, limit=limit, hand_over="true", **start)
            seen += sequences(events)
        hand_over = msgspec.convert(meta["hand_over"], dict[str, object])
        arrived = await subscribed(client, hand_over)
        await until(lambda: len(arrived) > 0)
        is_enough.set()
        await writing
        await until(lambda: len(seen) + len(arrived) >= written)

    seen += [int(msgspec.json.decode(one.data)["sequence"]) for one in arrived]
    assert seen == list(range(1, written + 1))


@pytest.mark.parametrize("read", [0, 1, 2, 3])
async def test_a_subscriber_goes_on_behind_any_event_of_the_feed(
    both: httpx.AsyncClient,
    settings: Settings,
    client: Client,
    keyring: Keyring,
    postgres_log: PostgresLog,
    read: int,
) -> None:
    mine, theirs = Writer(keyring), Writer(keyring, GLOBEX)
    order = (theirs, mine, theirs, mine, mine, theirs, mine)
    _, meta = await page(both, hand_over="true")
    await postgres_log.append([writer.creation() for writer in order])
    done = 0
    if read > 0:
        events, meta = await page(both, limit=read, hand_over="true")
        done = sequences(events)[-1]

    start = Place.before(meta["hand_over"]["start_sequence"], done)
    async with relaying(settings, client):
        await until_published(settings, client, len(order))
        async with CustomerSubscriber(
            client, log_id=settings.log_id, workspace_id=ACME, start=start
        ) as subscriber:
            seen = [(await anext(subscriber)).workspace_sequence for _ in range(4 - read)]
    assert seen == list(range(read + 1, 5))


async def test_at_every_place_it_names_the_first_message_behind_it(
    both: httpx.AsyncClient,
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
) -> None:
    _, meta = await page(both, hand_over="true")
    expected = {
        "stream": f"CUSTOMERS_{settings.log_id}_1",
        "subject": f"customers.{settings.log_id}.1.acme.>",
        "start_sequence": 1,
    }
    assert meta["hand_over"] == expected
    mine, theirs = Writer(keyring), Writer(keyring, GLOBEX)
    # Positions of acme: 3, 4, 6.
    order = (theirs, theirs, mine, mine, theirs, mine, theirs)
    await postgres_log.append([writer.creation() for writer in order])

    for limit, start in ((1, 4), (2, 5), (3, 7), (500, 7)):
        _, meta = await page(both, limit=limit, hand_over="true")
        assert meta["hand_over"] == expected | {"start_sequence": start}
    # Behind the last event there is nothing yet: the place stays.
    for after in (meta["next_cursor"], "now"):
        _, end = await page(both, after=after, hand_over="true")
        assert end["hand_over"] == meta["hand_over"]


async def test_only_who_asks_is_told_how_much_all_workspaces_wrote(
    both: httpx.AsyncClient, keyring: Keyring, postgres_log: PostgresLog
) -> None:
    await create(both)
    quiet = [await page(both, **asked) for asked in ({}, {"hand_over": "false"})]
    assert [set(meta) for _, meta in quiet] == [{"next_cursor", "has_more", "request_id"}] * 2
    await postgres_log.append([Writer(keyring, GLOBEX).creation() for _ in range(50)])
    again = await page(both)
    assert again[0] == quiet[0][0]
    assert again[1]["next_cursor"] == quiet[0][1]["next_cursor"]
