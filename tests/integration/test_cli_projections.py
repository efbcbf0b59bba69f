"""`customers projections …`: who is parked and why, and another try once the cause is gone."""

import json

from psycopg import Connection
from psycopg.rows import TupleRow

from events.customer import CustomerData
from runtime.settings import Settings
from tests.support.builders import Writer, created
from tests.support.command import Command
from tests.support.projecting import project
from tests.support.writing import write

JOHN = CustomerData(email="john@example.com", first_name="John", tags=("gold",))


def test_an_operator_sees_who_is_parked_and_tries_again_when_the_cause_is_gone(
    command: Command, settings: Settings, writer: Writer, owner: Connection[TupleRow]
) -> None:
    none = command.run("projections", "failures")
    assert (none.code, none.out, none.err) == (0, "", "No customer is parked.\n")
    owner.execute(
        "ALTER TABLE edition_1.customers ADD CONSTRAINT no_gold"
        " CHECK (NOT 'gold' = ANY (tag_spellings))"
    )
    john = writer.a_customer()
    write(settings, writer.creation(), writer.group(writer.event(john, 1, created(JOHN))))
    project(settings)

    listed = command.run("projections", "failures")
    told = json.loads(command.run("projections", "failures", "--json").out)
    whole = command.run("projections", "failures", "--stack")
    still = command.run("projections", "retry", str(john))
    stranger = command.run("projections", "retry", str(writer.a_customer()))
    keyless = command.run("projections", "retry", CUSTOMERS_MASTER_KEYS=f"other:{'A' * 43}=")

    assert (listed.code, listed.lines[0]) == (1, f"{john} of acme")
    assert "from position 2 on, since 20" in listed.lines[1]
    assert listed.lines[1].endswith(": CheckViolation (SQLSTATE 23514)")
    assert "john@example.com" not in listed.out
    assert [(one["customer_id"], one["position"], one["stack"]) for one in told] == [
        (str(john), 2, "")
    ]
    assert "no_gold" in whole.out
    assert (still.code, still.lines) == (
        1,
        [f"{john} of acme: ✗ still parked: CheckViolation (SQLSTATE 23514)"],
    )
    assert stranger.code == 1
    assert "is not parked.\ntry: customers projections failures" in stranger.err
    assert keyless.code == 1
    assert "error: " in keyless.err

    owner.execute("ALTER TABLE edition_1.customers DROP CONSTRAINT no_gold")
    mended = command.run("projections", "retry", "--json")
    assert mended.code == 0
    assert [one["reason"] for one in json.loads(mended.out)] == [None]
    assert "john" not in mended.out
    assert command.run("projections", "failures").code == 0
    assert command.run("projections", "retry").err == "No customer is parked.\n"
    assert command.run("rebuild", "--verify").code == 0
