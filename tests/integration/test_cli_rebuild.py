"""`customers rebuild …` as an operator calls it."""

import json
import signal

from psycopg import Connection
from psycopg.rows import TupleRow

from events.log import PostgresLog
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.command import Command
from tests.support.projecting import project
from tests.support.signals import until
from tests.support.writing import write


def test_an_operator_verifies_builds_anew_goes_back_and_cleans_up(
    command: Command, settings: Settings, writer: Writer, owner: Connection[TupleRow]
) -> None:
    customer = writer.a_customer()
    write(settings, writer.group(writer.event(customer)), writer.creation())
    project(settings)
    ran = command.run("rebuild", "--verify")
    assert (ran.code, ran.lines) == (
        0,
        ["✓ edition 1 at position 2, 2 customers: what the log says"],
    )
    owner.execute("UPDATE edition_1.customers SET document = 'Jane' WHERE position = 1")
    ran = command.run("rebuild", "--verify")
    assert ran.code == 1
    assert ran.lines == [
        "✗ document: 1",
        f"    customer {customer} of acme, position 1",
        "edition 1 at position 2, 2 customers: try `customers rebuild`",
    ]

    ran = command.run("rebuild")

    assert ran.code == 0
    assert ran.lines[0].startswith("✓ edition 4 is live after ")
    assert "edition 1 is kept up to date for `customers rebuild rollback`" in ran.lines[1]
    assert "edition 4: reading, 2 of 2 events" in ran.err
    assert command.run("rebuild", "rollback").lines[0] == "✓ edition 1 is live, at position 2"
    listed = json.loads(command.run("rebuild", "list", "--json").out)
    assert [(one["edition"], one["live"], one["position"]) for one in listed] == [
        (1, True, 2),
        (4, False, 2),
    ]
    assert command.run("rebuild", "drop").out == "dropped edition 4\n"
    assert command.run("rebuild", "drop").out == "There is nothing to drop.\n"
    assert command.run("rebuild", "status").out == "No rebuild is at work, and none waits.\n"
    assert command.run("rebuild", CUSTOMERS_MASTER_KEYS="").code == 1
    assert len(command.run("rebuild", "list", CUSTOMERS_MASTER_KEYS="").lines) == 5
    for words in (("drop", "9"), ("cancel",), ("rollback",)):
        ran = command.run("rebuild", *words)
        assert (ran.code, ran.err.count("error: "), ran.err.count("try: ")) == (1, 1, 1)
    ran = command.run("rebuild", "--verify", CUSTOMERS_MASTER_KEYS=f"other:{'A' * 43}=")
    assert ran.code == 1
    assert "\nerror: The master key " in ran.err
    assert ran.err.endswith("try: customers master-keys status\n")


async def test_what_ctrl_c_or_worse_interrupts_waits_to_be_gone_on_with(
    command: Command,
    settings: Settings,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
) -> None:
    await postgres_log.append([writer.creation()])
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock'"
    )
    with connect_as_owner(settings, "test observer") as observer, owner.transaction():
        owner.execute("LOCK TABLE projections.rebuild_ranges IN EXCLUSIVE MODE")
        for number, code in ((signal.SIGINT, 1), (signal.SIGKILL, -9)):
            async with command.running("rebuild") as rebuild:
                assert await rebuild.word() == "edition 2: reading, 0 of 1 events"
                await until(lambda: observer.execute(waiting).fetchone() == (1,))
                ended = await rebuild.stop(number)
            assert ended.code == code
            assert code < 0 or ended.err == (
                "Stopped; what was built is kept. `customers rebuild` goes on from there.\n"
            )

    ran = await command.shell("customers rebuild status && customers rebuild")

    assert ran.code == 0
    assert ran.lines[0].startswith("edition 2, 0 of 1 events read, begun ")
    assert ran.lines[0].endswith("waits: customers rebuild goes on with it")
    assert ran.lines[1].startswith("✓ edition 2 is live after ")
