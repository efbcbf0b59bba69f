"""What a user made by deploy/make-subscriber can read, and all that it tries in vain."""

import re
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import nats.errors
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from events.customer import CustomerCreated
from events.envelope import Position, WorkspaceId
from events.jetstream import appended_ping, stream_config, stream_name
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from events.subscriber import CustomerSubscriber
from runtime.documents import events_document
from runtime.settings import Settings
from tests.support.builders import ACME, GLOBEX, Writer
from tests.support.deployed import (
    Refusals,
    a_deployment,
    connected,
    connected_by,
    deployed_nats,
    make_subscriber,
)
from tests.support.nats_server import NatsServer
from tests.support.signals import until
from tests.support.stream import HandStream

STREAM = stream_name(1, 1)
SANDBOX = WorkspaceId("acme_test")
API = "$JS.customers.API.CONSUMER"
MINE = "customers.1.1.acme.>"
THEIRS = "customers.1.1.globex.>"
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def place() -> Generator[Path]:
    """A folder with the secrets of one deployment."""
    with a_deployment() as path:
        yield path


@pytest.fixture(scope="module")
def broker(place: Path) -> Generator[NatsServer]:
    """A NATS that runs with nats.conf, and was told of its subscribers while it ran."""
    with deployed_nats(place) as server:
        for arguments in (("acme",), ("acme_test",), ("acme", "billing"), ("--all", "everybody")):
            assert make_subscriber(place, *arguments).returncode == 0
        server.reload()
        yield server


def url_of(place: Path, *arguments: str) -> str:
    """The URL of a subscriber that was made already."""
    found = re.match(r"\S+", make_subscriber(place, *arguments).stdout)
    assert found
    return found[0]


@pytest.fixture
async def relay(place: Path, broker: NatsServer) -> AsyncGenerator[JetStreamContext]:
    """The stream of log 1, empty, for the relay's user."""
    async with connected(place, broker.port, "relay") as (client, _):
        stream = client.jetstream()
        for log_id in (1, 2):
            with suppress(nats.errors.Error):
                await stream.delete_stream(stream_name(log_id, 1))
            await stream.add_stream(stream_config(log_id, 1, 1))
        yield stream


@pytest.fixture
async def acme(place: Path, broker: NatsServer) -> AsyncGenerator[tuple[Client, Refusals]]:
    """A connection of the subscriber of acme, and what it was refused."""
    async with connected_by(url_of(place, "acme"), broker.port, "_INBOX_acme") as both:
        yield both


async def ask(client: Client, subject: str, body: object = None) -> Any:
    """What JetStream answers."""
    answer = await client.request(subject, msgspec.json.encode(body), timeout=5)
    return msgspec.json.decode(answer.data)


async def make(client: Client, **config: object) -> Any:
    """The answer to the wish for a consumer: by default, one that the subscriber may make."""
    wish = {
        "name": "acme",
        "ack_policy": "none",
        "mem_storage": True,
        "inactive_threshold": 30 * SECOND,
        "filter_subject": MINE,
    }
    return await ask(
        client,
        f"{API}.CREATE.{STREAM}.acme.{MINE}",
        {"stream_name": STREAM, "config": wish | config},
    )


async def publish_some(relay: JetStreamContext) -> None:
    """Six messages, of two workspaces in turn."""
    for number in range(6):
        workspace = ("acme", "globex")[number % 2]
        await relay.publish(f"customers.1.1.{workspace}.00.created", b"%d" % number)


async def test_a_subscriber_follows_its_workspace_from_the_first_event_to_one_just_now(
    acme: tuple[Client, Refusals],
    relay: JetStreamContext,
    broker: NatsServer,
    place: Path,
    settings: Settings,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    keyring: Keyring,
) -> None:
    log_id = settings.log_id
    with suppress(nats.errors.Error):
        await relay.delete_stream(stream_name(log_id, 1))
    client, refusals = acme
    mine, theirs = Writer(keyring, ACME), Writer(keyring, GLOBEX)
    async with connected(place, broker.port, "relay") as (publisher, _):
        stream = HandStream(publisher, keyring, log_id)
        await stream.make()
        await postgres_log.append([mine.creation(), theirs.creation(), mine.creation()])
        await stream.publish(*await log_reader.read_after(Position(0), 10))
        async with CustomerSubscriber(
            client, log_id=log_id, workspace_id=ACME, domain="customers"
        ) as events:
            first = [await anext(events), await anext(events)]
            await postgres_log.append([theirs.creation(), mine.creation()])
            await stream.publish(*await log_reader.read_after(Position(3), 10))
            seen = [*first, await anext(events)]
    assert [event.position for event in seen] == [1, 3, 5]
    assert {event.workspace_id for event in seen} == {ACME}
    assert all(isinstance(event.event, CustomerCreated) for event in seen)
    assert refusals.words == []


async def test_what_the_asyncapi_document_says_of_a_consumer_is_what_a_subscriber_may_make(
    acme: tuple[Client, Refusals], relay: JetStreamContext, place: Path
) -> None:
    await publish_some(relay)
    told = msgspec.json.decode(events_document(Settings().public_url))["info"]["description"]
    printed = make_subscriber(place, "acme").stdout
    found = re.search(r"inbox prefix (\S+), domain (\S+), consumer (\S+)", printed)
    assert found
    assert all(f"`{word}`" in told for word in found.groups())
    _, domain, name = found.groups()
    (config,) = re.findall(r"```json\n(.+?)\n```", told, flags=re.DOTALL)
    client, refusals = acme

    stream = client.jetstream(domain=domain)
    wish = ConsumerConfig.from_response(msgspec.json.decode(config))
    await stream.add_consumer(STREAM, wish)
    messages = await (await stream.pull_subscribe_bind(name, STREAM)).fetch(1, timeout=5)

    assert [message.metadata.sequence.stream for message in messages] == [wish.opt_start_seq]
    assert wish.opt_start_seq is not None
    assert wish.opt_start_seq > 1
    await stream.delete_consumer(STREAM, name)
    assert refusals.words == []
    assert "cknowledge explicitly" not in msgspec.json.encode(told).decode()


@pytest.mark.parametrize(
    ("arguments", "name", "expected"),
    [
        (("acme", "billing"), "billing", ["acme", "acme"]),
        (("acme_test",), "acme_test", ["acme_test"]),
        (("--all", "everybody"), "everybody", ["acme", "acme_test", "globex", "acme"]),
    ],
)
async def test_each_subscriber_sees_its_own_and_nothing_else(
    relay: JetStreamContext,
    broker: NatsServer,
    place: Path,
    arguments: tuple[str, ...],
    name: str,
    expected: list[str],
) -> None:
    for workspace in ("acme", "acme_test", "globex", "acme"):
        await relay.publish(f"customers.1.1.{workspace}.00.created", b"{}")
    async with connected_by(url_of(place, *arguments), broker.port, f"_INBOX_{name}") as (c, _):
        workspace = arguments[0]
        is_all = workspace == "--all"
        subjects = f"customers.1.1.{workspace}.>"
        config = {"name": name, "ack_policy": "none"}
        made = await ask(
            c,
            f"{API}.CREATE.{STREAM}.{name}" + ("" if is_all else f".{subjects}"),
            {
                "stream_name": STREAM,
                "config": config if is_all else config | {"filter_subject": subjects},
            },
        )
        assert made["num_pending"] == len(expected)
        inbox = await c.subscribe(c.new_inbox())
        wish = msgspec.json.encode({"batch": len(expected), "expires": 5 * SECOND})
        await c.publish(f"{API}.MSG.NEXT.{STREAM}.{name}", wish, reply=inbox.subject)
        got = [(await inbox.next_msg(5)).subject.split(".")[3] for _ in expected]
        assert got == expected
        await ask(c, f"{API}.DELETE.{STREAM}.{name}")


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"filter_subject": THEIRS}, 10131),
        ({"filter_subject": "customers.1.1.>"}, 10131),
        ({"filter_subject": None}, 10131),
        ({"filter_subject": None, "filter_subjects": [MINE, THEIRS]}, 10137),
        ({"filter_subjects": [THEIRS]}, 10137),
        ({"durable_name": "projector"}, 10017),
        # Into the stream itself.
        ({"deliver_subject": "customers.1.1.acme.00.created"}, 10081),
    ],
)
async def test_a_consumer_of_more_than_the_subject_says_is_refused(
    acme: tuple[Client, Refusals], relay: JetStreamContext, config: dict[str, object], code: int
) -> None:
    await publish_some(relay)
    assert (await make(acme[0], **config))["error"]["err_code"] == code
    assert await relay.consumers_info(STREAM) == []


async def test_a_consumer_never_gets_another_name_than_the_subject_says(
    acme: tuple[Client, Refusals], relay: JetStreamContext
) -> None:
    await make(acme[0], name="projector")
    assert [consumer.name for consumer in await relay.consumers_info(STREAM)] == ["acme"]


@pytest.mark.parametrize(
    "subject",
    [
        f"{API}.CREATE.{STREAM}.acme.{THEIRS}",
        f"{API}.CREATE.{STREAM}.acme.customers.1.1.*.>",
        f"{API}.CREATE.{STREAM}.acme.customers.1.1.>",
        f"{API}.CREATE.{STREAM}.acme.>",
        f"{API}.CREATE.{STREAM}.acme",
        f"{API}.CREATE.{STREAM}",
        f"{API}.CREATE.{STREAM}.globex.{MINE}",
        f"{API}.DURABLE.CREATE.{STREAM}.acme",
        f"{API}.MSG.NEXT.{STREAM}.projector",
        f"{API}.DELETE.{STREAM}.projector",
        f"{API}.INFO.{STREAM}.projector",
        f"{API}.NAMES.{STREAM}",
        f"{API}.RESET.{STREAM}.acme",
        f"$JS.API.CONSUMER.CREATE.{STREAM}.acme.{MINE}",
        f"$JS.API.STREAM.INFO.{STREAM}",
        f"$JS.customers.API.STREAM.INFO.{STREAM}",
        f"$JS.customers.API.STREAM.MSG.GET.{STREAM}",
        f"$JS.customers.API.DIRECT.GET.{STREAM}",
        f"$JS.customers.API.STREAM.PURGE.{STREAM}",
        f"$JS.customers.API.STREAM.MSG.DELETE.{STREAM}",
        f"$JS.customers.API.STREAM.DELETE.{STREAM}",
        f"$JS.ACK.{STREAM}.acme.1.1.1.1.1",
        "$JS.customers.API.INFO",
        "$SYS.REQ.SERVER.PING",
        "customers.1.1.acme.00.created",
        appended_ping(1),
        "_INBOX_billing.x",
    ],
)
async def test_what_a_subscriber_may_not_ask_for_is_refused(
    acme: tuple[Client, Refusals], subject: str
) -> None:
    client, refusals = acme
    await client.publish(subject, b"{}", reply=client.new_inbox())
    await client.flush()
    await until(lambda: bool(refusals.words))
    assert "permissions violation for publish" in refusals.words[0].lower()


@pytest.mark.parametrize(
    "subject", ["customers.>", "customers.1.1.acme.>", "_INBOX.>", "_INBOX_billing.>", ">", "$JS.>"]
)
async def test_what_a_subscriber_may_not_listen_to_is_refused(
    acme: tuple[Client, Refusals], subject: str
) -> None:
    client, refusals = acme
    await client.subscribe(subject)
    await client.flush()
    await until(lambda: bool(refusals.words))
    assert "permissions violation for subscription" in refusals.words[0].lower()


async def last_sequences(relay: JetStreamContext) -> list[int]:
    """Where the streams of both logs end."""
    return [(await relay.stream_info(stream_name(log, 1))).state.last_seq for log in (1, 2)]


@pytest.mark.parametrize(
    "reply", ["customers.1.1.acme.00.created", "customers.2.1.acme.00.created", appended_ping(1)]
)
async def test_nothing_is_published_by_asking_for_a_reply_there(
    acme: tuple[Client, Refusals],
    relay: JetStreamContext,
    place: Path,
    broker: NatsServer,
    reply: str,
) -> None:
    await publish_some(relay)
    client, _ = acme
    await make(client)
    async with connected(place, broker.port, "projector") as (projector, _):
        rung = await projector.subscribe(appended_ping(1))
        await projector.flush()
        await client.publish(
            f"{API}.MSG.NEXT.{STREAM}.acme", b'{"batch":3,"expires":0,"no_wait":true}', reply=reply
        )
        # The answer to this one comes behind those to the first.
        inbox = await client.subscribe(client.new_inbox())
        wish = msgspec.json.encode({"batch": 1, "expires": SECOND // 10})
        await client.publish(f"{API}.MSG.NEXT.{STREAM}.acme", wish, reply=inbox.subject)
        await inbox.next_msg(5)
        await projector.flush()
        assert rung.pending_msgs == 0
    assert await last_sequences(relay) == [6, 0]


@pytest.mark.parametrize(
    "target",
    [
        "customers.2.1.acme.00.created",
        "$JS.API.STREAM.PURGE.CUSTOMERS_1_1",
        "$JS.API.STREAM.DELETE.CUSTOMERS_1_1",
        "_INBOX_acme.x",
    ],
)
async def test_a_consumer_that_pushes_reaches_no_stream_and_no_request(
    acme: tuple[Client, Refusals], relay: JetStreamContext, target: str
) -> None:
    await publish_some(relay)
    made = await make(acme[0], deliver_subject=target)
    assert made["config"]["deliver_subject"] == target
    # Pushed at once, if at all.
    found = await relay.consumer_info(STREAM, "acme")
    assert (found.push_bound or False, found.delivered and found.delivered.consumer_seq) == (
        False,
        0,
    )
    assert await last_sequences(relay) == [6, 0]


async def test_the_most_that_a_push_does_is_ring_a_bell_with_what_is_no_position(
    acme: tuple[Client, Refusals], relay: JetStreamContext, place: Path, broker: NatsServer
) -> None:
    await publish_some(relay)
    async with connected(place, broker.port, "projector") as (projector, _):
        rung = await projector.subscribe(appended_ping(1))
        await projector.flush()
        await make(acme[0], deliver_subject=appended_ping(1))
        assert [(await rung.next_msg(5)).data for _ in range(3)] == [b"0", b"2", b"4"]


async def test_nobody_is_let_in_without_a_password(broker: NatsServer) -> None:
    client = Client()
    with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
        await client.connect(broker.url, allow_reconnect=False)
    await client.close()


def test_a_subscriber_made_twice_stays_what_it_is(place: Path, broker: NatsServer) -> None:
    assert broker.port
    users = place / "run/secrets/nats_subscribers"
    before = users.read_bytes()
    assert url_of(place, "acme") == url_of(place, "acme", "acme")
    other = make_subscriber(place, "globex", "acme")
    assert (other.returncode, other.stdout) == (1, "")
    assert "choose another NAME" in other.stderr
    assert users.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all",),
        ("Acme",),
        ("a>",),
        ("*", "all"),
        ("acme", 'x"y'),
        ("acme", "a.b"),
        ("relay",),
    ],
)
def test_what_is_no_name_makes_no_subscriber(place: Path, arguments: tuple[str, ...]) -> None:
    before = (place / "run/secrets/nats_subscribers").read_bytes()
    assert make_subscriber(place, *arguments).returncode == 1
    assert (place / "run/secrets/nats_subscribers").read_bytes() == before
