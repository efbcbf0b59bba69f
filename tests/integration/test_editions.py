"""Editions are made once, and their functions kept up to date under running readers."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

import projections
from events.keys import Keyring
from events.log import PostgresLog
from projections.editions import create_edition, prepare_editions
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.projecting import projecting
from tests.support.querying import reading
from tests.support.signals import until


def test_migrating_makes_one_live_edition_and_only_once(owner: Connection[TupleRow]) -> None:
    query = "SELECT edition, schema_name, live FROM projections.editions"
    assert owner.execute(query).fetchall() == [(1, "edition_1", True)]
    assert prepare_editions(owner) == []
    assert owner.execute(query).fetchall() == [(1, "edition_1", True)]


def test_there_is_never_more_than_one_live_edition(owner: Connection[TupleRow]) -> None:
    create_edition(owner, 2)
    with pytest.raises(psycopg.errors.UniqueViolation):
        owner.execute("UPDATE projections.editions SET live = true WHERE edition = 2")


async def test_functions_of_another_version_are_replaced_under_running_readers(
    settings: Settings, keyring: Keyring, postgres_log: PostgresLog, owner: Connection[TupleRow]
) -> None:
    create_edition(owner, 2)
    await postgres_log.append([Writer(keyring).creation()])
    async with projecting(settings, keyring) as model, reading(settings) as reader:
        await model.catch_up()
        assert (await reader.client.get("/customers")).json()["meta"]["total"] == 1

        owner.execute("UPDATE projections.editions SET functions_checksum = 'older'")
        owner.execute("CREATE FUNCTION edition_1.of_yesterday() RETURNS void LANGUAGE sql AS ''")
        done = prepare_editions(owner)
        assert done == ["projections/edition_1 functions", "projections/edition_2 functions"]
        left = "SELECT to_regprocedure('edition_1.of_yesterday()')"
        assert owner.execute(left).fetchone() == (None,)

        await postgres_log.append([Writer(keyring).creation()])
        await model.catch_up()
        assert (await reader.client.get("/customers")).json()["meta"]["total"] == 2


MIGRATIONS = Path(projections.__file__).parent / "migrations"

# As it was before gets were asked for many customers at once.
GET_ONE = """
ALTER FUNCTION edition_1.get_customers RENAME TO of_later;
CREATE FUNCTION edition_1.get_customer(
    p_workspace_id text, p_customer_id uuid, p_log_id integer,
    OUT live boolean, OUT generation integer, OUT checkpoint bigint, OUT newest bigint,
    OUT parked boolean, OUT document bytea, OUT version integer, OUT erased boolean
) LANGUAGE sql STABLE AS $$
    SELECT * FROM edition_1.of_later(p_workspace_id, ARRAY[p_customer_id], p_log_id)
$$;
"""


async def test_an_edition_that_knows_gets_of_one_customer_alone_answers_those_of_many(
    settings: Settings, keyring: Keyring, postgres_log: PostgresLog, owner: Connection[TupleRow]
) -> None:
    owner.execute(GET_ONE)
    owner.execute((MIGRATIONS / "0004_gets.sql").read_bytes())
    writer = Writer(keyring)
    known = [writer.a_customer() for _ in range(3)]
    for customer in known:
        await postgres_log.append([writer.group(writer.event(customer))])
    async with projecting(settings, keyring) as model, reading(settings) as reader:
        await model.catch_up()
        paths = [f"/customers/{customer}" for customer in [*known, writer.a_customer()]]
        answers = await asyncio.gather(*map(reader.client.get, paths))

    assert [answer.status_code for answer in answers] == [200, 200, 200, 404]
    found = [answer.json()["data"]["id"] for answer in answers[:3]]
    assert found == [str(customer) for customer in known]


@pytest.mark.parametrize("path", ["/customers", "/customers?search=jane"])
async def test_a_read_that_meets_the_replacement_of_its_functions_is_answered(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    owner: Connection[TupleRow],
    path: str,
) -> None:
    await postgres_log.append([Writer(keyring).creation()])
    async with projecting(settings, keyring) as model:
        await model.catch_up()
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock'"
    )
    async with reading(settings) as reader:
        with connect_as_owner(settings, "test observer") as observer, owner.transaction():
            # The read has begun with the old functions when it comes to this table.
            owner.execute("LOCK TABLE edition_1.customers IN ACCESS EXCLUSIVE MODE")
            asked = asyncio.create_task(reader.client.get(path))
            await until(lambda: observer.execute(waiting).fetchone() == (1,))
            owner.execute("UPDATE projections.editions SET functions_checksum = 'older'")
            assert prepare_editions(owner) == ["projections/edition_1 functions"]
        answer = await asked

    assert (answer.status_code, answer.json()["meta"]["total"]) == (200, 1)


async def test_every_edition_tells_how_far_it_is(
    settings: Settings, keyring: Keyring, postgres_log: PostgresLog, owner: Connection[TupleRow]
) -> None:
    create_edition(owner, 2)
    await postgres_log.append([Writer(keyring).creation()])
    async with projecting(settings, keyring) as model:
        await model.catch_up()
    query = (
        "SELECT edition, live, generation, position, parked FROM projections.checkpoints"
        " WHERE log_id = %s"
    )
    assert owner.execute(query, [settings.log_id]).fetchall() == [(1, True, 1, 1, 0)]
