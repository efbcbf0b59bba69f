"""`customers erase` and `customers erasures`: an operator forgets a person, and proves it later."""

import json

from psycopg import Connection
from psycopg.rows import TupleRow

from events.customer import CustomerData
from events.envelope import CustomerId
from events.log import PostgresLog
from runtime.clock import format_time
from runtime.scrub.record import begin_scrub, finish_scrub, note_step
from runtime.settings import Settings
from tests.support.builders import Writer, created
from tests.support.command import Command
from tests.support.erasing import look
from tests.support.writing import write

JANE = CustomerData(email="jane@example.com", first_name="Jane", last_name="Doe")


def a_person(settings: Settings, writer: Writer) -> CustomerId:
    """A customer with two events."""
    jane = writer.a_customer()
    write(settings, *(writer.group(writer.event(jane, n, created(JANE))) for n in (1, 2)))
    return jane


def test_an_operator_erases_a_customer_and_reads_the_receipt_again_later(
    command: Command, settings: Settings, writer: Writer
) -> None:
    jane = a_person(settings, writer)

    before = command.run("erasures", "--customer", str(jane))
    asked = command.run("erase", "--customer", str(jane))
    assert (before.code, asked.code) == (1, 2)
    assert f"error: Customer {jane} was never erased.\ntry: customers erase" in before.err
    assert "--yes" in asked.err
    missing = command.run("erase", "--customer", str(writer.a_customer()), "--yes")
    assert (missing.code, missing.out) == (1, "")
    assert "has no customer" in missing.err
    assert command.run("events", "show", "1").out.count("jane@example.com")

    done = command.run("erase", "--customer", str(jane), "--yes", "--json")
    again = command.run("erase", "--customer", str(jane), "--json")
    shown = command.run("erasures", "--customer", str(jane))
    listed = command.run("erasures", "--workspace", "acme")
    lines = command.run("erasures", "--json").lines

    receipt = json.loads(done.out)
    assert (done.code, receipt["customer_id"]) == (0, str(jane))
    assert {place["where"]: place["count"] for place in receipt["places"]}["log"] == 2
    assert json.loads(again.out) == receipt
    assert "read_model" in shown.out
    assert listed.out.split()[3:] == [str(jane), "acme", "pending:", "jetstream,", "ledger"]
    assert listed.err == "1 erased, 1 of them not finished\n"
    assert [json.loads(line) for line in lines] == [{"workspace": "acme", "receipt": receipt}]
    assert command.run("erasures", "--workspace", "globex").out == ""
    assert "erased: the person was forgotten" in command.run("events", "show", "1").out
    assert command.run("verify").code == 0
    accesses = command.run("accesses", "--customer", str(jane), "--json").lines
    # Who only looked at a receipt has erased nobody.
    assert [json.loads(line)["action"] for line in accesses] == [
        "receipt",
        "erasure",
        "erasure",
        "receipt",
    ]


def test_the_receipt_says_when_a_scrub_had_cleaned_the_files_of_the_server(
    command: Command, settings: Settings, writer: Writer, owner: Connection[TupleRow]
) -> None:
    def data_files() -> tuple[str, str | None]:
        receipt = json.loads(command.run("erasures", "--customer", str(jane), "--json").out)
        (listed,) = command.run("erasures", "--json").lines
        assert json.loads(listed)["receipt"] == receipt
        (place,) = [place for place in receipt["places"] if place["where"] == "data_files"]
        return place["state"], place["at"]

    jane = a_person(settings, writer)
    too_early = begin_scrub(owner)
    command.run("erase", "--customer", str(jane), "--yes")
    finish_scrub(owner, too_early)
    finish_scrub(owner, begin_scrub(owner))
    assert data_files() == ("scheduled", None)
    owner.execute("SELECT log.note_messages_deleted(%s, 3, 2)", [settings.log_id])
    assert data_files() == ("scheduled", None)

    finish_scrub(owner, note_step(owner, begin_scrub(owner), "wal", ["an archive of WAL"]))
    assert data_files() == ("scheduled", None)
    clean = finish_scrub(owner, begin_scrub(owner))
    assert clean.finished_at is not None
    assert data_files() == ("done", format_time(clean.finished_at))
    finish_scrub(owner, begin_scrub(owner))
    assert data_files() == ("done", format_time(clean.finished_at))


async def test_whoever_is_asked_learns_nothing_of_the_person_and_may_refuse(
    command: Command, settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    jane = writer.a_customer()
    await postgres_log.append([writer.group(writer.event(jane, 1, created(JANE)))])

    refused = await command.answer("n", "erase", "--customer", str(jane))
    agreed = await command.answer("y", "erase", "--customer", str(jane), CUSTOMERS_NATS_URL="")

    assert (refused.code, refused.out) == (1, "")
    assert f"Customer {jane} of workspace acme: made 20" in refused.err
    assert "at version 1, last changed" in refused.err
    assert "Erase for ever? Nothing brings it back" in refused.err
    assert "jane@" not in refused.err + agreed.err
    assert (agreed.code, (await look(settings, jane)).events) == (0, 1)
