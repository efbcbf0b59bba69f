"""Erasure in the read model: every edition forgets, however far it has come, and counts on."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from events.customer import CustomerData, CustomerUpdated, PreviousData
from events.envelope import CustomerId, WorkspaceId
from events.erasure import forget_in_rebuilds, forget_soon
from events.keys import Keyring
from events.log import PostgresLog
from projections.editions import create_edition
from runtime.postgres import Role, connect, connect_as_owner
from runtime.settings import Settings
from tests.support.builders import ACME, GLOBEX, Writer, created
from tests.support.erasing import erase
from tests.support.projecting import Projecting, projecting
from tests.support.signals import until

JANE = CustomerData(email="jane@example.com", tags=("vip", "gold"))
JOE = CustomerData(email="joe@example.com", tags=("vip",))
ROE = CustomerUpdated(
    customer=CustomerData(email="roe@example.com", tags=("new",)),
    changed_fields=("email",),
    previous=PreviousData(),
)


@pytest.fixture
async def model(settings: Settings, keyring: Keyring) -> AsyncGenerator[Projecting]:
    """A projector of the live edition."""
    async with projecting(settings, keyring) as projecting_:
        yield projecting_


def counts(owner: Connection[TupleRow], edition: str = "edition_1") -> dict[str, int]:
    """How many customers there are, and how many with each tag."""
    query = f"SELECT spelling, customers FROM {edition}.counts"  # noqa: S608 - a name of ours
    return {str(spelling): int(number) for spelling, number in owner.execute(query.encode())}


def people(owner: Connection[TupleRow], edition: str = "edition_1") -> int:
    """How many customers an edition has."""
    row = owner.execute(f"SELECT count(*) FROM {edition}.customers".encode()).fetchone()  # noqa: S608 - a name of ours
    assert row is not None
    return int(row[0])


async def test_what_was_read_before_an_erasure_does_not_bring_the_customer_back(
    model: Projecting, settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    jane, joe = writer.a_customer(), writer.a_customer()
    await postgres_log.append([writer.group(writer.event(jane, 1, created(JANE)))])
    await postgres_log.append([writer.group(writer.event(joe, 1, created(JOE)))])
    await model.catch_up()
    await postgres_log.append([writer.group(writer.event(jane, 2, ROE))])
    read_before = await model.read()

    await erase(settings, jane)
    async with await connect(settings, Role.API, "test api") as api:
        assert await _forget(api, GLOBEX, jane) is None
        assert await _forget(api, ACME, jane) == 1
    with connect_as_owner(settings, "test owner") as owner:
        assert (people(owner), counts(owner)) == (1, {"": 1, "vip": 1})
        assert await model.projector.apply(read_before) == "applied"
        assert (people(owner), counts(owner)) == (1, {"": 1, "vip": 1})
        await model.catch_up()
        assert (people(owner), counts(owner)) == (1, {"": 1, "vip": 1})


async def test_nobody_is_forgotten_who_was_not_erased(
    model: Projecting, settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    jane = writer.a_customer()
    await postgres_log.append([writer.group(writer.event(jane, 1, created(JANE)))])
    await model.catch_up()
    async with await connect(settings, Role.API, "test api") as api:
        assert await _forget(api, ACME, jane) is None
    with connect_as_owner(settings, "test owner") as owner:
        assert people(owner) == 1


async def test_every_edition_forgets_also_one_that_is_not_complete(
    model: Projecting, settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    jane = writer.a_customer()
    await postgres_log.append([writer.group(writer.event(jane, 1, created(JANE)))])
    await model.catch_up()
    with connect_as_owner(settings, "test owner") as owner:
        for edition in (2, 3):
            create_edition(owner, edition)
            for table in ("customers", "counts"):
                copy = f"INSERT INTO edition_{edition}.{table} SELECT * FROM edition_1.{table}"  # noqa: S608 - names of ours
                owner.execute(copy.encode())
        owner.execute("DELETE FROM projections.editions WHERE edition = 3")
        owner.execute(
            "INSERT INTO projections.rebuilds (edition, log_id, purpose, until_position,"
            " tables_checksum, indexes) VALUES (3, %s, 'switch', 1, '', '{}')",
            [settings.log_id],
        )
        owner.execute(
            "INSERT INTO edition_2.parked VALUES ('acme', %s, %s, 1, 'why', 'jane@example.com')",
            [jane, settings.log_id],
        )
        await erase(settings, jane)
        async with await connect(settings, Role.RELAY, "test relay") as relay:
            assert await forget_soon(relay, ACME, jane)
            assert [people(owner, f"edition_{edition}") for edition in (1, 2, 3)] == [0, 0, 1]
            await forget_in_rebuilds(relay)
        assert [people(owner, f"edition_{edition}") for edition in (1, 2, 3)] == [0, 0, 0]
        assert [counts(owner, f"edition_{edition}") for edition in (1, 2, 3)] == [{}, {}, {}]
        assert owner.execute("SELECT count(*) FROM edition_2.parked").fetchone() == (0,)


async def test_who_waits_for_the_live_edition_holds_no_other_that_a_switch_needs(
    model: Projecting, settings: Settings, postgres_log: PostgresLog, writer: Writer
) -> None:
    jane = writer.a_customer()
    await postgres_log.append([writer.group(writer.event(jane, 1, created(JANE)))])
    await model.catch_up()
    with (
        connect_as_owner(settings, "test owner") as owner,
        connect_as_owner(settings, "test switch") as switch,
    ):
        create_edition(owner, 2)
        owner.execute("INSERT INTO edition_2.checkpoints SELECT * FROM edition_1.checkpoints")
        owner.execute("UPDATE projections.editions SET live = false")
        owner.execute("UPDATE projections.editions SET live = true WHERE edition = 2")
        await erase(settings, jane)
        async with await connect(settings, Role.RELAY, "test forget") as relay:
            with switch.transaction():
                switch.execute("SELECT FROM edition_2.checkpoints FOR UPDATE")
                forgetting = asyncio.create_task(forget_soon(relay, ACME, jane))
                waits = (
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND application_name = 'test forget' AND datname = current_database()"
                )
                await until(lambda: owner.execute(waits).fetchone() == (1,))
                owner.execute("SELECT FROM edition_1.checkpoints FOR UPDATE NOWAIT")
            assert await forgetting
        assert people(owner) == 0


async def _forget(
    connection: AsyncConnection[TupleRow], workspace: WorkspaceId, customer: CustomerId
) -> int | None:
    """In how many editions a customer was forgotten; None for one who was not erased."""
    query = "SELECT projections.forget(%s, %s)"
    row = await (await connection.execute(query, [workspace, customer])).fetchone()
    assert row is not None
    return row[0]
