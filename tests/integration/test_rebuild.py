"""An edition that is built anew is the live one row for row, whatever interrupts its building."""

import asyncio
from typing import Any, LiteralString

import msgspec
import psycopg
import pytest
from msgspec.structs import replace
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from events.customer import CustomerData
from events.envelope import CustomerId
from events.errors import KeyUnavailable
from events.keys import Keyring
from events.log import PostgresLog
from projections.building import Sizes, Step
from projections.editions import prepare_editions
from projections.rebuild import Cancelled, Rebuilds
from runtime.failure import Failure
from runtime.settings import Settings
from tests.support.builders import Writer, created
from tests.support.projecting import projecting
from tests.support.random_history import RandomHistory
from tests.support.signals import until

SMALL = Sizes(range_events=7)
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"


@pytest.fixture
def rebuilds(settings: Settings) -> Rebuilds:
    """What an operator does, with ranges so small that there are several."""
    return Rebuilds(settings, SMALL)


def unheard(_: Step) -> None:
    """Nobody looks on."""


async def project(settings: Settings, keyring: Keyring) -> None:
    """Bring the live edition to the end of the log."""
    async with projecting(settings, keyring) as model:
        await model.catch_up(batch=13)


def content(owner: Connection[TupleRow], edition: int) -> dict[str, list[Any]]:
    """All that an edition holds, but when and why customers were parked."""
    tables = {
        "customers": "SELECT * FROM edition_{}.customers ORDER BY customer_id",
        "counts": "SELECT * FROM edition_{}.counts ORDER BY 1, 2, 3",
        "checkpoints": "SELECT * FROM edition_{}.checkpoints",
        "parked": "SELECT customer_id FROM edition_{}.parked ORDER BY 1",
        "indexes": "SELECT replace(indexdef, 'edition_{0}', '') FROM pg_indexes"
        " WHERE schemaname = 'edition_{0}' ORDER BY 1",
        "constraints": "SELECT conname, contype FROM pg_constraint"
        " WHERE connamespace = 'edition_{}'::regnamespace ORDER BY 1",
    }
    return {
        name: owner.execute(query.format(edition).encode()).fetchall()
        for name, query in tables.items()
    }


def schemas(owner: Connection[TupleRow]) -> list[str]:
    """The schemas of editions, whoever has them listed or not."""
    query = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'edition%' ORDER BY 1"
    return [name for (name,) in owner.execute(query)]


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_built_anew_is_the_live_one_row_for_row(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    owner: Connection[TupleRow],
    rebuilds: Rebuilds,
    seed: int,
) -> None:
    history = RandomHistory(postgres_log, keyring, owner, seed)
    await history.go_on(120)
    await project(settings, keyring)
    assert (await rebuilds.verify(2, unheard)).differences == []
    later: list[asyncio.Task[None]] = []

    def tell(step: Step) -> None:
        if step.stage == "indexing" and not later:
            later.append(asyncio.create_task(history.go_on(40)))

    switched = await rebuilds.rebuild(2, tell)
    await later[0]

    await project(settings, keyring)
    owner.execute("UPDATE projections.editions SET live = false")
    owner.execute("UPDATE projections.editions SET live = true WHERE edition = 1")
    await project(settings, keyring)
    assert content(owner, 1) == content(owner, switched.edition)


async def test_who_cannot_be_read_is_parked_with_the_row_of_before_and_told_of(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
    rebuilds: Rebuilds,
) -> None:
    damaged, refused, fine = writer.a_customer(), writer.a_customer(), writer.a_customer()
    later = writer.event(damaged, 2)
    nul = created(CustomerData(email="a\x00b@example.com"))
    for event in (
        writer.event(damaged),
        writer.event(refused, 1, nul),
        replace(later, payload=later.payload[:-1] + bytes([later.payload[-1] ^ 1])),
        writer.event(fine),
    ):
        await postgres_log.append([writer.group(event)])
    switched = await rebuilds.rebuild(1, unheard)
    assert {(one.customer_id, one.position) for one in switched.parked} == {
        (damaged, 3),
        (refused, 2),
    }
    query = "SELECT customer_id, version FROM edition_2.customers ORDER BY position"
    assert owner.execute(query).fetchall() == [(damaged, 1), (fine, 1)]


@pytest.mark.parametrize(
    "stage", ["reading", "indexing", "indexing, counted", "catching up", "switching"]
)
async def test_a_rebuild_that_is_killed_goes_on_where_it_was(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    owner: Connection[TupleRow],
    rebuilds: Rebuilds,
    stage: str,
) -> None:
    await RandomHistory(postgres_log, keyring, owner, 1).go_on(60)
    await project(settings, keyring)

    stage, _, counted = stage.partition(", ")

    def kill(step: Step) -> None:
        begun = step.done >= (step.total - 1 if counted else 1)
        if step.stage == stage and (begun or step.total == 0 or stage == "switching"):
            owner.execute(_CUT, ["customers rebuild%"])

    with pytest.raises(psycopg.OperationalError):
        await rebuilds.rebuild(2, kill)
    assert owner.execute("SELECT projections.live_edition()").fetchone() == (1,)
    told: list[Step] = []
    switched = await rebuilds.rebuild(2, told.append)
    assert (switched.edition, told[0].stage) == (2, stage)
    assert stage != "reading" or told[0].done >= SMALL.range_events
    assert content(owner, 1) == content(owner, 2)


async def test_there_is_one_rebuild_at_a_time_and_it_can_be_stopped_from_elsewhere(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    owner: Connection[TupleRow],
    rebuilds: Rebuilds,
) -> None:
    await RandomHistory(postgres_log, keyring, owner, 2).go_on(30)
    other = Rebuilds(settings)
    held: list[Step] = []

    def hold(step: Step) -> None:
        if not held:
            held.append(step)
            owner.execute("BEGIN")
            owner.execute("LOCK TABLE edition_2.customers")

    rebuilding = asyncio.create_task(rebuilds.rebuild(1, hold))
    await until(lambda: bool(held))
    for refused in (other.rebuild(1, unheard), other.roll_back(), other.drop(2)):
        with pytest.raises(Failure, match="Another rebuild is at work"):
            await refused
    stopped = await other.cancel()
    with pytest.raises(Cancelled):
        await rebuilding
    owner.execute("ROLLBACK")
    assert (stopped.edition, stopped.stage) == (2, "reading")
    editions, begun, is_at_work = await other.look()
    assert ([one.edition for one in editions], [one.edition for one in begun]) == ([1], [2])
    assert not is_at_work
    with pytest.raises(Failure, match="No rebuild is at work"):
        await other.cancel()
    with pytest.raises(Failure, match="no edition to go back to"):
        await other.roll_back()
    with pytest.raises(Failure, match="is the one that is read"):
        await other.drop(1)
    assert (await other.rebuild(1, unheard, anew=True)).edition == 3
    assert schemas(owner) == ["edition_1", "edition_3"]


async def test_a_comparison_finds_and_names_what_differs_and_changes_nothing(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
    rebuilds: Rebuilds,
) -> None:
    spoilt = [writer.a_customer() for _ in range(7)]
    for customer_id in spoilt:
        await postgres_log.append([writer.group(writer.event(customer_id))])
    await project(settings, keyring)
    missing, document, text, tags, key, parked, _ = spoilt
    changes: list[tuple[LiteralString, CustomerId]] = [
        ("document = 'x'", document),
        ("search_text = 'x'", text),
        ("tag_keys = '{}', tag_spellings = '{}'", tags),
        ("email_key = 'x', version = 9", key),
        ("document = 'parked'", parked),
    ]
    for change, customer_id in changes:
        query = sql.SQL("UPDATE edition_1.customers SET {} WHERE customer_id = %s")
        owner.execute(query.format(sql.SQL(change)), [customer_id])
    owner.execute("DELETE FROM edition_1.customers WHERE customer_id = %s", [missing])
    extra = "UPDATE edition_1.customers SET customer_id = gen_random_uuid() WHERE position = 7"
    owner.execute(extra)
    park = "INSERT INTO edition_1.parked VALUES ('acme', %s, %s, 6, 'x', 'x')"
    owner.execute(park, [parked, settings.log_id])
    before = content(owner, 1)

    found = await rebuilds.verify(1, unheard)

    assert {one.kind: one.count for one in found.differences} == {
        "counter": 3,
        "document": 1,
        "extra": 1,
        "keys and times": 1,
        "missing": 2,
        "search text": 1,
        "tags": 1,
    }
    assert (found.position, found.customers, found.parked) == (7, 6, 1)
    named = {one.kind: one.first for one in found.differences}
    assert [(one.customer_id, one.position) for one in named["document"]] == [(document, 2)]
    assert {(one.workspace_id, one.customer_id) for one in named["counter"]} == {("acme", None)}
    assert b"jane" not in msgspec.json.encode(found).lower()
    assert content(owner, 1) == before
    assert schemas(owner) == ["edition_1"]


async def test_processes_of_our_own_fill_a_large_edition(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    owner: Connection[TupleRow],
) -> None:
    await RandomHistory(postgres_log, keyring, owner, 3).go_on(60)
    await project(settings, keyring)
    large = Sizes(range_events=10, few_events=0)
    stranger = replace(settings, master_keys=f"other:{'A' * 43}=")
    with pytest.raises(KeyUnavailable, match="'test' is not among CUSTOMERS_MASTER_KEYS"):
        await Rebuilds(stranger, large).rebuild(1, unheard)
    await Rebuilds(settings, large).rebuild(2, unheard)
    assert content(owner, 1) == content(owner, 2)


async def test_an_edition_of_another_version_serves_until_one_of_this_version_does(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
    rebuilds: Rebuilds,
) -> None:
    owner.execute("UPDATE projections.editions SET tables_checksum = 'x', functions_checksum = 'x'")
    owner.execute("CREATE FUNCTION edition_1.of_yesterday() RETURNS void LANGUAGE sql AS ''")
    (words,) = prepare_editions(owner)
    assert "edition_1 has the tables of another version" in words
    assert "`customers rebuild`" in words
    assert owner.execute("SELECT to_regprocedure('edition_1.of_yesterday()')").fetchone() != (None,)
    await postgres_log.append([writer.creation()])
    await project(settings, keyring)
    with pytest.raises(Failure, match="tables of another version"):
        await rebuilds.verify(1, unheard)

    assert (await rebuilds.rebuild(1, unheard)).position == 1

    assert [one.is_current for one in (await rebuilds.look())[0]] == [False, True]
    await rebuilds.drop(None)
    assert prepare_editions(owner) == []


async def test_a_read_model_of_another_history_is_replaced(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
    rebuilds: Rebuilds,
) -> None:
    await postgres_log.append([writer.creation()])
    await project(settings, keyring)
    owner.execute("UPDATE edition_1.checkpoints SET position = 9, chain = 'anything'")
    with pytest.raises(Failure, match="Build it anew: `customers rebuild`"):
        await rebuilds.verify(1, unheard)
    assert (await rebuilds.rebuild(1, unheard)).position == 1
    assert (await rebuilds.verify(1, unheard)).differences == []
