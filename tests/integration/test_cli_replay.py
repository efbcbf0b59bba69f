"""`customers replay` on a real log."""

import asyncio
import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from events.envelope import CustomerId
from events.log import PostgresLog
from runtime.accesses import list_accesses
from runtime.clock import format_time
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.integration.test_cli_events import (
    SANDBOX,
    erased,
    log_of,
    lose_key,
    positions,
    renamed,
)
from tests.support.builders import Writer
from tests.support.command import Command, Ran
from tests.support.signals import until
from tests.support.writing import write


def rows(ran: Ran) -> list[dict[str, str]]:
    """Printed CSV by the names of its first line."""
    return list(csv.DictReader(io.StringIO(ran.out, newline="")))


def files_in(folder: Path) -> list[Path]:
    """What is in a folder."""
    return list(folder.iterdir())


def accesses(settings: Settings) -> list[tuple[str, str | None, object]]:
    """What was recorded: the action, the workspace, the customer."""
    with connect_as_owner(settings, "test accesses") as owner:
        return [(one.action, one.workspace_id, one.customer_id) for one in list_accesses(owner)]


def two_workspaces(settings: Settings, writer: Writer) -> CustomerId:
    """Two events of a customer, then at another moment two of a sandbox."""
    sandbox, customer = Writer(writer.keyring, SANDBOX), writer.a_customer()
    write(settings, *renamed(writer, customer))
    write(settings, *renamed(sandbox, sandbox.a_customer()))
    return customer


def test_a_replay_gives_out_every_event_as_tail_does_and_is_recorded_with_what_was_asked_for(
    command: Command, settings: Settings, writer: Writer
) -> None:
    customer = two_workspaces(settings, writer)

    ran = command.run("replay")

    assert (ran.code, ran.err) == (0, "4 events up to position 4\n")
    assert ran.lines == command.run("events", "tail", "--from", "beginning", "--json").lines
    assert positions(ran.lines) == [1, 2, 3, 4]
    command.run("replay", "--workspace", "acme_test")
    command.run("replay", "--customer", str(customer))
    assert accesses(settings) == [
        ("replay", None, None),
        ("replay", "acme_test", None),
        ("replay", "acme", customer),
    ]


def test_a_replay_is_bounded_by_positions_a_moment_and_filters(
    command: Command, settings: Settings, writer: Writer
) -> None:
    customer = two_workspaces(settings, writer)
    second = asyncio.run(log_of(settings))[1].stored.recorded_at

    for options, expected in (
        (["--from", "2", "--to", "3"], [2, 3]),
        (["--until", format_time(second)], [1, 2]),
        (["--workspace", "acme_test", "--from", "4"], [4]),
        (["--workspace", "acme", "--from", "3"], []),
        (["--customer", str(customer), "--to", "1"], [1]),
        (["--from", "5"], []),
    ):
        ran = command.run("replay", *options)
        assert (positions(ran.lines), ran.code) == (expected, 0), ran.err
    for options, said in (
        (["--to", "5"], "The log ends at position 4.\ntry: --to 4"),
        (["--from", "6"], "There is no position 6 yet: the log ends at 4."),
        (["--until", "2001-01-01T00:00:00Z"], "At 2001-01-01T00:00:00.000000Z the log was empty."),
        (["--until", format_time(second), "--from", "3"], "the log ended at position 2."),
        (["--workspace", "nobody"], "No event fits: nobody."),
    ):
        ran = command.run("replay", *options, "--format", "csv")
        assert (ran.code, ran.out) == (1, "")
        assert said in ran.err


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_what_was_erased_is_said_to_be_and_what_is_broken_is_named_and_stops_nothing(
    command: Command, settings: Settings, writer: Writer, form: str
) -> None:
    forgotten, lost = writer.a_customer(), writer.a_customer()
    write(settings, *erased(writer, forgotten), *renamed(writer, lost), writer.creation())
    lose_key(settings, forgotten)
    lose_key(settings, lost)

    ran = command.run("replay", "--format", form)

    assert ran.code == 1
    assert "5 events up to position 5, 1 of them erased\n" in ran.err
    assert "Event 3 cannot be read: Event 3 has no data key" in ran.err
    assert "error: 2 events cannot be read" in ran.err
    assert "try: customers events show 3" in ran.err
    found: list[Any] = [json.loads(line) for line in ran.lines] if form == "ndjson" else rows(ran)
    assert [int(line["position"]) for line in found] == [1, 2, 3, 4, 5]
    assert [bool(line.get("erased")) for line in found] == [True, False, False, False, False]
    faults = [line.get("fault") or "" for line in found]
    assert [fault[:7] for fault in faults] == ["", "", "Event 3", "Event 4", ""]
    if form == "ndjson":
        assert found[0]["event"]["data"] is None
        assert "event" not in found[2]


def test_a_table_has_the_customer_after_each_event_and_is_safe_in_a_spreadsheet(
    command: Command, settings: Settings, writer: Writer
) -> None:
    write(settings, *renamed(writer, writer.a_customer()))

    created, updated = rows(command.run("replay", "--format", "csv"))

    assert (created["type"], created["first_name"], created["tags"]) == (
        "CustomerCreated",
        "Jane",
        '["vip"]',
    )
    assert (updated["first_name"], updated["changed_fields"]) == ("Janet\x9b[2J", "first_name")
    assert (updated["actor"], updated["reason"]) == ("clerk-7\u202e", "asked by phone")


def test_a_table_of_nothing_still_names_its_columns(
    command: Command, settings: Settings, writer: Writer
) -> None:
    write(settings, writer.creation())

    ran = command.run("replay", "--from", "2", "--format", "csv")

    assert (ran.code, ran.err) == (0, "0 events up to position 1\n")
    assert [line.split(",")[0] for line in ran.lines] == ["position"]


def test_a_file_appears_when_it_is_whole_and_only_its_owner_may_read_it(
    command: Command, settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    write(settings, writer.creation())
    file = tmp_path / "events.ndjson"
    file.write_text("older")

    refused = command.run("replay", "--to", "9", "--out", str(file))
    assert (refused.code, file.read_text()) == (1, "older")
    assert files_in(tmp_path) == [file]
    ran = command.run("replay", "--out", str(file))

    assert (ran.code, ran.out) == (0, "")
    assert positions(file.read_text().splitlines()) == [1]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert files_in(tmp_path) == [file]


@pytest.mark.parametrize("out", ["/dev/null", "/nowhere/events.ndjson"])
def test_no_file_is_put_in_the_place_of_what_is_none(
    command: Command, settings: Settings, writer: Writer, out: str
) -> None:
    write(settings, writer.creation())

    ran = command.run("replay", "--out", out)

    assert ran.code == 1
    assert f"error: {out} " in ran.err
    assert not Path(out).is_file()


async def test_ctrl_c_says_how_far_it_came_and_leaves_no_half_a_file(
    command: Command,
    settings: Settings,
    postgres_log: PostgresLog,
    writer: Writer,
    tmp_path: Path,
) -> None:
    await postgres_log.append([writer.creation()])
    file = tmp_path / "events.ndjson"
    for options, said in ((["--out", str(file)], f"{file} was not written"), ([], "--from 1 goes")):
        with connect_as_owner(settings, "test owner") as owner, owner.transaction():
            owner.execute("LOCK TABLE log.events IN ACCESS EXCLUSIVE MODE")
            async with command.running("replay", *options) as replay:
                await until(lambda: _waits(settings))
                ended = await replay.stop()

        assert (ended.code, ended.out) == (130, "")
        assert f"Ended after 0 events up to position 0: {said}" in ended.err
        assert files_in(tmp_path) == []


def _waits(settings: Settings) -> bool:
    with connect_as_owner(settings, "test look") as owner:
        return bool(
            owner.execute(
                "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database() AND application_name = 'customers events'"
            ).fetchall()
        )


async def test_a_reader_that_has_enough_is_no_error(
    command: Command, postgres_log: PostgresLog, writer: Writer
) -> None:
    # Far more than a pipe holds.
    await postgres_log.append([writer.creation() for _ in range(3000)])

    ran = await command.shell("customers replay | head -n 2")

    assert (ran.code, ran.err, positions(ran.lines)) == (0, "", [1, 2])


async def test_a_terminal_is_shown_how_far_it_is_unless_the_events_are_shown_there(
    command: Command, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation() for _ in range(1234)])

    beside = await command.look_beside(90, "replay", TERM="xterm", NO_COLOR="1")
    among = await command.look(90, "replay", "--to", "3", TERM="xterm", NO_COLOR="1")

    assert "1,234 of 1,234" in beside
    assert beside.splitlines()[-1].endswith("1,234 events up to position 1234")
    assert " of 3" not in among
