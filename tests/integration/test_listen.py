"""`customers listen`: the events of a real log, delivered to a real HTTP server."""

import asyncio
import base64
import json
import signal
from collections.abc import Generator

import pytest
from standardwebhooks import Webhook

from events.customer import CustomerErased
from events.envelope import WorkspaceId
from events.log import PostgresLog
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.command import Command
from tests.support.receiver import Receiver, receiving
from tests.support.signals import LIMIT_SECONDS
from tests.support.writing import write

SANDBOX = WorkspaceId("acme_test")
GIVEN = f"whsec_{base64.b64encode(bytes(range(24))).decode()}"


@pytest.fixture
def receiver() -> Generator[Receiver]:
    """A server that takes what is sent."""
    with receiving() as receiver_:
        yield receiver_


def ids(receiver: Receiver) -> list[str]:
    """The ids of the messages that came."""
    return [received.headers["webhook-id"] for received in receiver.received]


def test_each_event_comes_in_order_as_tail_shows_it_and_verifies_with_the_printed_secret(
    command: Command, settings: Settings, writer: Writer, receiver: Receiver
) -> None:
    write(settings, writer.creation(), writer.creation(), writer.creation())
    tail = command.run("events", "tail", "--json")

    ran = command.run("listen", "--forward-to", receiver.url, "--from", "beginning", "--limit", "3")

    assert ran.code == 0
    secret = command.run("listen", "--print-secret").out.strip()
    assert (
        f"Forwarding to {receiver.url} until Ctrl-C\nSigning secret: {secret}\nFrom position 1 on\n"
        == ran.err
    )
    events = [json.loads(line)["event"] for line in tail.lines]
    sent = [
        Webhook(secret).verify(received.body, received.headers) for received in receiver.received
    ]
    assert sent == events
    assert ids(receiver) == [event["id"] for event in events]
    assert {received.headers["content-type"] for received in receiver.received} == {
        "application/cloudevents+json"
    }
    words = [line.split()[1:] for line in ran.lines]
    assert [line[:2] for line in words] == [
        [arrow, str(position)] for position in (1, 2, 3) for arrow in ("-->", "<--")
    ]
    assert words[0][2:] == ["acme", "created", events[0]["subject"]]
    assert words[1][2:5] == ["204", "No", "Content,"]


def test_only_what_was_asked_for_is_delivered(
    command: Command, settings: Settings, writer: Writer, receiver: Receiver
) -> None:
    sandbox = Writer(writer.keyring, SANDBOX)
    customer = sandbox.a_customer()
    erased = sandbox.event(customer, 2, CustomerErased(positions=(2,)))
    write(settings, writer.creation())
    write(settings, sandbox.group(sandbox.event(customer)), sandbox.group(erased))
    write(settings, writer.creation())

    ran = command.run(
        *("listen", "--forward-to", receiver.url, "--from", "1", "--limit", "1", "--print-json"),
        *("--workspace", "acme_test", "--type", "erased"),
    )

    assert ran.code == 0, ran.err
    [received] = receiver.received
    assert received.body == ran.lines[1]
    assert json.loads(received.body)["data"] == {}


def test_what_an_erased_customer_was_is_not_sent(
    command: Command, settings: Settings, writer: Writer, receiver: Receiver
) -> None:
    customer = writer.a_customer()
    erased = writer.event(customer, 2, CustomerErased(positions=(1,)))
    write(settings, writer.group(writer.event(customer)), writer.group(erased))
    with connect_as_owner(settings, "test owner") as owner:
        owner.execute("DELETE FROM keyring.data_keys")

    command.run("listen", "--forward-to", receiver.url, "--from", "1", "--limit", "2")

    assert [json.loads(received.body)["data"] for received in receiver.received] == [
        None,
        {},
    ]


def test_a_refused_event_is_sent_again_before_the_next_and_given_up_in_the_end(
    command: Command, settings: Settings, writer: Writer, receiver: Receiver
) -> None:
    write(settings, writer.creation(), writer.creation())
    receiver.answers = [500, 404, 200]

    ran = command.run(
        *("listen", "--forward-to", receiver.url, "--from", "1", "--limit", "2", "--retries", "1")
    )

    first, again, second = ids(receiver)
    assert first == again != second
    assert "  <--  1  500 Internal Server Error, " in ran.lines[1]
    assert ran.lines[1].endswith(" ms, again in 1 s (1/1)")
    assert ran.lines[2].endswith(" ms, given up after 2 tries")
    assert ran.err.endswith("\nNot delivered: 1, at position 1\n")
    assert ran.code == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_from_now_on_until_ctrl_c_or_hanging_up_which_says_from_where_to_go_on(
    command: Command, postgres_log: PostgresLog, writer: Writer, receiver: Receiver,
    number: signal.Signals,
) -> None:  # fmt: skip
    await postgres_log.append([writer.creation(), writer.creation()])
    receiver.answers = [204, *[503] * 9]
    async with command.running("listen", "--forward-to", receiver.url) as listen:
        words = [await listen.word() for _ in range(3)]
        assert words[2] == "From position 3 on"
        await postgres_log.append([writer.creation(), writer.creation()])
        assert "-->  3  " in await listen.line()
        assert "<--  3  204 No Content" in await listen.line()
        assert "-->  4  " in await listen.line()
        assert "<--  4  503 Service Unavailable" in await listen.line()
        ended = await listen.stop(number)

    assert ended.code == 0
    assert ended.err == "Ended: --from 4 goes on where this was\n"


async def test_it_ends_when_the_reader_of_its_lines_has_enough_though_nothing_more_happens(
    command: Command, postgres_log: PostgresLog, writer: Writer, receiver: Receiver
) -> None:
    await postgres_log.append([writer.creation()])

    async with asyncio.timeout(LIMIT_SECONDS):
        ran = await command.shell(
            f"customers listen --forward-to {receiver.url} --from 1 | head -n 2"
        )

    assert (ran.code, len(ran.lines), len(receiver.received)) == (0, 2, 1)


def test_a_secret_that_was_given_signs_and_is_not_printed(
    command: Command, settings: Settings, writer: Writer, receiver: Receiver
) -> None:
    write(settings, writer.creation())
    port = receiver.url.removeprefix("http://")
    options = ("listen", "--from", "1", "--limit", "1", "--forward-to")

    by_variable = command.run(*options, receiver.url, CUSTOMERS_WEBHOOK_SECRET=GIVEN)
    by_option = command.run(*options, f"http://me:word@{port}", "--secret", GIVEN)

    for ran, received in zip((by_variable, by_option), receiver.received, strict=True):
        assert ran.code == 0
        assert "whsec_" not in ran.out + ran.err
        assert "word" not in ran.out + ran.err
        Webhook(GIVEN).verify(received.body, received.headers)


def test_an_event_that_cannot_be_read_ends_it_and_is_not_skipped(
    command: Command, settings: Settings, writer: Writer, receiver: Receiver
) -> None:
    write(settings, writer.creation())
    with connect_as_owner(settings, "test owner") as owner:
        owner.execute("DELETE FROM keyring.data_keys")

    ran = command.run("listen", "--forward-to", receiver.url, "--from", "1")

    assert ran.code == 1
    assert "error: Event 1 cannot be read: " in ran.err
    assert "--from 2 goes on behind" in ran.err
    assert receiver.received == []
