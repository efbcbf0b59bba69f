"""`customers state` and `customers export …` on a real log."""

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

from events.customer import CustomerDeleted, CustomerErased
from events.envelope import CustomerId
from events.log import PostgresLog
from runtime.clock import format_time
from runtime.operators.past import PastOfLog
from runtime.settings import Settings
from tests.integration.test_cli_events import RENAMED, SANDBOX, log_of, lose_key
from tests.integration.test_cli_replay import accesses
from tests.support.builders import JANE, Writer, created
from tests.support.command import Command
from tests.support.writing import write

DELETED = CustomerDeleted(customer=RENAMED.customer, actor="clerk-7", reason="asked for")


def a_life(settings: Settings, writer: Writer) -> CustomerId:
    """A customer that was created, renamed and deleted, each at a moment of its own."""
    customer = writer.a_customer()
    for version, event in enumerate((created(), RENAMED, DELETED), 1):
        write(settings, writer.group(writer.event(customer, version, event)))
    return customer


def times(settings: Settings) -> list[str]:
    """When each event was recorded."""
    return [format_time(keyed.stored.recorded_at) for keyed in asyncio.run(log_of(settings))]


def test_a_customer_is_shown_as_it_was_in_a_version_and_at_a_moment(
    command: Command, settings: Settings, writer: Writer
) -> None:
    customer = a_life(settings, writer)
    first, second, third = times(settings)

    def state(at: str) -> Any:
        ran = command.run("state", "--customer", str(customer), "--at", at, "--json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    for at, status, version, since, name in (
        ("1", "live", 1, first, "Jane"),
        (first, "live", 1, first, "Jane"),
        (second, "live", 2, second, "Janet\x9b[2J"),
        ("3", "deleted", 3, third, "Janet\x9b[2J"),
        (third, "deleted", 3, third, "Janet\x9b[2J"),
    ):
        found = state(at)
        assert (found["status"], found["version"], found["since"]) == (status, version, since)
        assert (found["customer"]["first_name"], found["customer"]["created_at"]) == (name, first)
    assert state("2")["reason"] == "asked by phone"
    before = state("2001-01-01T00:00:00Z")
    assert (before["status"], before["since"], before["customer"]) == ("not_created", first, None)
    assert set(accesses(settings)) == {("state", "acme", customer)}


def test_a_state_is_told_in_words_that_move_no_terminal(
    command: Command, settings: Settings, writer: Writer
) -> None:
    customer = str(a_life(settings, writer))
    first, _, third = times(settings)

    live = command.run("state", "--customer", customer, "--at", "2").out
    gone = command.run("state", "--customer", customer, "--at", "3").out
    early = command.run("state", "--customer", customer, "--at", "2001-01-01T00:00:00Z").out

    assert f"customer {customer} of acme\nversion 2, since " in live
    assert "Janet\\u009b[2J" in live
    assert "clerk-7\\u202e" in live
    assert f"deleted by version 3, at {third}" in gone
    assert early.splitlines()[1] == f"not there yet: it was created at {first}"


def test_there_is_no_state_of_what_never_was_or_is_to_come_and_none_of_the_erased(
    command: Command, settings: Settings, writer: Writer
) -> None:
    customer = str(a_life(settings, writer))
    forgotten = writer.a_customer()
    write(settings, writer.group(writer.event(forgotten)))
    write(settings, writer.group(writer.event(forgotten, 2, CustomerErased(positions=(4,)))))
    lose_key(settings, forgotten)

    for who, at, said in (
        (customer, "4", "has only come to version 3.\ntry: --at 3"),
        (customer, "99999999999", "has only come to version 3."),
        (customer, "9999-01-01T00:00:00Z", "is still to come."),
        (str(SANDBOX), "1", "is no id of a customer"),
        ("01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21", "1", "No event fits"),
    ):
        ran = command.run("state", "--customer", who, "--at", at)
        assert (ran.code, ran.out) == (1, "")
        assert said in ran.err
    erased = command.run("state", "--customer", str(forgotten), "--at", "1")
    assert (erased.code, "erased at" in erased.out, "Jane" in erased.out) == (0, True, False)
    assert command.run("state", "--customer", customer, "--at", "then").code == 2


def a_workspace(settings: Settings, writer: Writer) -> list[CustomerId]:
    """Three customers and one of a sandbox; then one is renamed, one deleted, one erased."""
    sandbox = Writer(writer.keyring, SANDBOX)
    one, two, three = (writer.a_customer() for _ in range(3))
    write(settings, *(writer.group(writer.event(customer)) for customer in (one, two, three)))
    write(settings, sandbox.creation())
    write(
        settings,
        writer.group(writer.event(one, 2, RENAMED)),
        writer.group(writer.event(two, 2, CustomerDeleted(customer=JANE))),
    )
    return [one, two, three]


def test_an_export_has_all_customers_at_one_position_newest_created_first(
    command: Command, settings: Settings, writer: Writer
) -> None:
    one, two, three = map(str, a_workspace(settings, writer))

    def export(*options: str) -> tuple[list[tuple[int, str, int]], str]:
        ran = command.run("export", "customers", "--workspace", "acme", *options)
        assert ran.code == 0, ran.err
        found = [json.loads(line) for line in ran.lines]
        return [
            (line["at_position"], line["customer"]["id"], line["customer"]["version"])
            for line in found
        ], ran.err

    assert export() == (
        [(6, three, 1), (6, one, 2)],
        "2 customers of acme, as they were at position 6\n",
    )
    everyone = [(4, three, 1), (4, two, 1), (4, one, 1)]
    assert export("--at", "4")[0] == everyone
    assert export("--at", times(settings)[3])[0] == everyone
    assert export("--at", "1")[0] == [(1, one, 1)]
    assert set(accesses(settings)) == {("export", "acme", None)}
    for options, said in (
        (["--workspace", "acme", "--at", "7"], "The log ends at position 6."),
        (["--workspace", "nobody"], "No event fits: nobody."),
    ):
        ran = command.run("export", "customers", *options)
        assert (ran.code, ran.out) == (1, "")
        assert said in ran.err


async def test_what_is_written_while_customers_are_exported_is_not_among_them(
    settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    customers = [writer.a_customer() for _ in range(450)]
    await postgres_log.append([writer.group(writer.event(customer)) for customer in customers])
    changes = iter((RENAMED, DELETED))
    found: list[Any] = []

    pages = PastOfLog(settings).export(writer.workspace_id, None, "ndjson", begun=lambda _: None)
    async for page in pages:
        found += map(json.loads, page.lines.splitlines())
        change = next(changes, None)
        if change is not None:
            following = writer.event(customers[-1 - len(found)], 2, change)
            await postgres_log.append([writer.creation(), writer.group(following)])

    assert [line["customer"]["id"] for line in found] == [str(one) for one in reversed(customers)]
    assert {line["customer"]["version"] for line in found} == {1}
    assert next(changes, None) is None


def test_a_table_of_customers_is_one_line_each_and_names_what_cannot_be_read(
    command: Command, settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    one, _, three = a_workspace(settings, writer)
    lose_key(settings, three)
    file = tmp_path / "customers.csv"

    ran = command.run(
        *("export", "customers", "--workspace", "acme", "--format", "csv", "--out", str(file))
    )

    assert ran.code == 1
    assert "1 event cannot be read" in ran.err
    unreadable, readable = csv.DictReader(io.StringIO(file.read_text(), newline=""))
    assert (unreadable["id"], unreadable["email"]) == (str(three), "")
    assert unreadable["fault"].startswith("Event 3 has no data key")
    assert (readable["id"], readable["version"], readable["fault"]) == (str(one), "2", "")
    assert (readable["tags"], readable["custom_fields"]) == ('["vip"]', "{}")
    assert [readable["created_at"], readable["updated_at"]] == [
        times(settings)[0],
        times(settings)[4],
    ]


def test_everything_known_of_a_person_is_one_file_that_names_this_access_too(
    command: Command, settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    customer = a_life(settings, writer)
    file = tmp_path / "person.json"

    ran = command.run("export", "person", "--customer", str(customer), "--out", str(file))

    assert (ran.code, ran.out, ran.err) == (0, "", "")
    known = json.loads(file.read_text())
    assert (known["status"], known["version"], known["workspace"]) == ("deleted", 3, "acme")
    assert [event["data"]["reason"] for event in known["events"]] == [
        None,
        "asked by phone",
        "asked for",
    ]
    assert [(one["action"], one["api_key_id"]) for one in known["accesses"]] == [("export", None)]


def test_of_an_erased_person_nothing_is_exported(
    command: Command, settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    customer = writer.a_customer()
    write(settings, writer.group(writer.event(customer)))
    write(settings, writer.group(writer.event(customer, 2, CustomerErased(positions=(1,)))))
    lose_key(settings, customer)
    file = tmp_path / "person.json"

    ran = command.run("export", "person", "--customer", str(customer), "--out", str(file))

    assert (ran.code, file.exists()) == (1, False)
    assert "This customer was erased" in ran.err
    assert f"try: customers erasures --customer {customer}" in ran.err
