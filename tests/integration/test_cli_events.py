"""`customers events …` on a real log."""

import asyncio
import json
import signal
from datetime import datetime

import pytest

from events.append import Group, KeyedEvent
from events.chain import event_digest
from events.customer import CustomerData, CustomerErased, CustomerUpdated, PreviousData
from events.envelope import CustomerId, Position, WorkspaceId
from events.log import LogReader, PostgresLog
from runtime.postgres import Role, connect, connect_as_owner
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.command import Command
from tests.support.signals import LIMIT_SECONDS
from tests.support.writing import write

SANDBOX = WorkspaceId("acme_test")
NOWHERE = "nats://127.0.0.1:1"
RENAMED = CustomerUpdated(
    customer=CustomerData(email="jane@example.com", first_name="Janet\x9b[2J", tags=("vip",)),
    changed_fields=("first_name",),
    previous=PreviousData(first_name="Jane"),
    actor="clerk-7\u202e",
    reason="asked by phone",
)


def renamed(writer: Writer, customer: CustomerId) -> list[Group]:
    """A customer that was created and renamed."""
    return [
        writer.group(writer.event(customer)),
        writer.group(writer.event(customer, 2, RENAMED)),
    ]


def erased(writer: Writer, customer: CustomerId) -> list[Group]:
    """A customer that was created and erased."""
    return [
        writer.group(writer.event(customer)),
        writer.group(writer.event(customer, 2, CustomerErased(positions=(1,)))),
    ]


async def log_of(settings: Settings) -> list[KeyedEvent]:
    """All events."""
    async with await connect(settings, Role.RELAY, "test read") as connection:
        return await LogReader(connection, settings.log_id).read_after(Position(0), 10)


def lose_key(settings: Settings, customer: CustomerId) -> None:
    """Remove the data key of a customer."""
    with connect_as_owner(settings, "test owner") as owner:
        owner.execute("DELETE FROM keyring.data_keys WHERE stream_id = %s", [customer])


def positions(lines: list[str]) -> list[int]:
    """The positions of printed lines, JSON or not."""
    return [
        json.loads(line)["position"] if line.startswith("{") else int(line.split()[0])
        for line in lines
    ]


def test_a_line_tells_which_fields_changed_and_who_did_it_but_no_value(
    command: Command, settings: Settings, writer: Writer
) -> None:
    customer = writer.a_customer()
    write(settings, *renamed(writer, customer))

    ran = command.run("events", "tail")

    assert (ran.code, ran.err) == (0, "")
    first, second = (line.split() for line in ran.lines)
    assert [first[0], *first[2:]] == ["1", "acme", "created", str(customer), "v1", "email"]
    assert [second[0], *second[2:6]] == ["2", "acme", "updated", str(customer), "v2"]
    assert second[6:] == ["by", "clerk-7\\u202e:", "first_name"]
    assert datetime.fromisoformat(first[1]).tzinfo is not None
    assert "Jane" not in ran.out
    assert "jane@example.com" not in ran.out


def test_the_newest_ten_are_shown_oldest_first_or_as_many_as_asked_for(
    command: Command, settings: Settings, writer: Writer
) -> None:
    write(settings, *(writer.creation() for _ in range(12)))

    assert positions(command.run("events", "tail").lines) == list(range(3, 13))
    assert positions(command.run("events", "tail", "-n", "2", "--json").lines) == [11, 12]
    assert command.run("events", "tail", "--lines", "0").out == ""
    begun = command.run("events", "tail", "--from", "beginning", "--lines", "2")
    assert positions(begun.lines) == [1, 2]
    assert positions(command.run("events", "tail", "--from", "11").lines) == [11, 12]


def test_filters_combine_and_a_sandbox_is_a_workspace_of_its_own(
    command: Command, settings: Settings, writer: Writer
) -> None:
    sandbox = Writer(writer.keyring, SANDBOX)
    customer = writer.a_customer()
    write(settings, *renamed(writer, customer), *renamed(sandbox, sandbox.a_customer()))

    for filters, expected in (
        (["--workspace", "acme"], [1, 2]),
        (["--workspace", "acme_test"], [3, 4]),
        (["--type", "created"], [1, 3]),
        (["--type", "CustomerUpdated", "--workspace", "acme_test"], [4]),
        (["--type", "created", "--type", "updated", "-n", "3"], [2, 3, 4]),
        (["--customer", str(customer), "--from", "2"], [2]),
    ):
        ran = command.run("events", "tail", *filters)
        assert (positions(ran.lines), ran.code) == (expected, 0), ran.err


def test_when_no_event_fits_it_says_so_and_fails(
    command: Command, settings: Settings, writer: Writer
) -> None:
    empty = command.run("events", "tail")
    customer = writer.a_customer()
    write(settings, *renamed(writer, customer))
    missing = command.run("events", "tail", "--customer", str(customer), "--workspace", "acme_test")
    behind = command.run("events", "tail", "--from", "9")
    absent = command.run("events", "show", "9")

    assert (empty.code, empty.out, empty.err) == (0, "", "There is no event yet.\n")
    assert missing.code == 1
    assert f"error: No event fits: acme_test, {customer}." in missing.err
    assert behind.code == absent.code == 1
    assert "There is no position 9 yet: the log ends at 2.\ntry: --from 2" in behind.err
    assert "the log ends at 2.\ntry: customers events show 2" in absent.err


def test_what_an_erased_customer_was_is_not_shown_anywhere(
    command: Command, settings: Settings, writer: Writer
) -> None:
    customer = writer.a_customer()
    write(settings, *erased(writer, customer))
    lose_key(settings, customer)

    lines = command.run("events", "tail").lines
    published = [json.loads(line) for line in command.run("events", "tail", "--json").lines]
    shown = command.run("events", "show", "1")
    whole = json.loads(command.run("events", "show", "1", "--json").out)

    assert lines[0].endswith("erased since")
    assert lines[1].endswith("unreadable from now on: 1")
    assert (published[0]["event"]["data"], published[0]["erased"]) == (None, True)
    assert published[1]["event"]["data"] == {}
    assert "erased: the person was forgotten" in shown.out
    assert (whole["erased"], whole["event"]["data"]) == (True, None)


def test_a_lost_key_is_no_erasure(command: Command, settings: Settings, writer: Writer) -> None:
    customer = writer.a_customer()
    write(settings, *renamed(writer, customer))
    lose_key(settings, customer)

    lines = command.run("events", "tail")
    published = command.run("events", "tail", "--json")
    shown = command.run("events", "show", "1")

    assert "unreadable: Event 1 has no data key, and no CustomerErased says why" in lines.out
    assert lines.code == 0
    assert (published.code, published.out) == (1, "")
    assert "error: Event 1 cannot be read: " in published.err
    assert "has no data key" in shown.out
    assert "erased:" not in shown.out


def test_show_tells_everything_of_an_event_and_what_changed_into_what(
    command: Command, settings: Settings, writer: Writer
) -> None:
    customer = writer.a_customer()
    write(settings, *renamed(writer, customer))
    [_, keyed] = asyncio.run(log_of(settings))
    stored = keyed.stored

    shown = command.run("events", "show", "2")
    whole = json.loads(command.run("events", "show", "2", "--json").out)

    for words in (
        f"event 2 of log {stored.log_id}, generation 1",
        "CustomerUpdated",
        "acme, its event 2",
        str(customer),
        str(stored.event_id),
        str(stored.command_id),
        "asked by phone",
        stored.digest.hex(),
        stored.chain.hex(),
        'first_name        "Jane" → "Janet\\u009b[2J"',
        '"previous": {\n    "first_name": "Jane"\n  }',
    ):
        assert words in shown.out
    assert "\x9b" not in shown.out
    assert whole["digest"] == event_digest(stored).hex()
    assert whole["chain"] == stored.chain.hex()
    assert (whole["generation"], whole["position"], whole["workspace_sequence"]) == (1, 2, 2)
    assert whole["event"]["data"]["previous"] == {"first_name": "Jane"}


@pytest.mark.parametrize("form", ["", "--json"])
async def test_a_reader_that_has_enough_is_no_error(
    command: Command, postgres_log: PostgresLog, writer: Writer, form: str
) -> None:
    # Far more than a pipe holds.
    await postgres_log.append([writer.creation() for _ in range(3000)])

    ran = await command.shell(f"customers events tail --from beginning {form} | head -n 2")

    assert (ran.code, ran.err, positions(ran.lines)) == (0, "", [1, 2])


async def test_a_follower_whose_reader_has_enough_ends_though_nothing_more_happens(
    command: Command, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation()])

    async with asyncio.timeout(LIMIT_SECONDS):
        ran = await command.shell("customers events tail --follow | head -n 1")

    assert (ran.code, ran.err, positions(ran.lines)) == (0, "", [1])


async def test_following_goes_on_with_what_fits_until_ctrl_c_also_without_nats(
    command: Command, postgres_log: PostgresLog, writer: Writer
) -> None:
    sandbox = Writer(writer.keyring, SANDBOX)
    await postgres_log.append([writer.creation()])
    options = ("events", "tail", "--follow", "--workspace", "acme", "--json")
    async with command.running(*options, CUSTOMERS_NATS_URL=NOWHERE) as tail:
        assert positions([await tail.line()]) == [1]
        await postgres_log.append([sandbox.creation()])
        await postgres_log.append([writer.creation()])
        assert positions([await tail.line()]) == [3]
        ended = await tail.stop()

    assert (ended.code, ended.out, ended.err) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_following_an_empty_workspace_waits_for_its_first_event_and_ends_in_order(
    command: Command, postgres_log: PostgresLog, writer: Writer, number: signal.Signals
) -> None:
    async with command.running("events", "tail", "-f", "--workspace", "acme") as tail:
        await postgres_log.append([writer.creation()])
        assert positions([await tail.line()]) == [1]
        ended = await tail.stop(number)

    assert (ended.code, ended.out, ended.err) == (0, "", "")


async def test_a_terminal_gets_lines_of_its_width_and_colours_unless_it_wants_none(
    command: Command, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append(renamed(writer, writer.a_customer()))
    terminal = {"TERM": "xterm", "NO_COLOR": ""}

    coloured = await command.look(80, "events", "tail", **terminal)
    plain = await command.look(80, "events", "tail", **terminal | {"NO_COLOR": "1"})
    wide = await command.look(140, "events", "tail", **terminal | {"NO_COLOR": "1"})

    assert "\x1b[32mcreated" in coloured
    assert "\x1b" not in plain + wide
    assert [len(line) for line in plain.splitlines()][1] == 80
    assert plain.splitlines()[1].endswith("v2  by clerk-7\\u202e: first_na…")
    assert wide.splitlines()[1].endswith("v2  by clerk-7\\u202e: first_name")
