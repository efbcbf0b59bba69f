"""Rows, counters and checkpoint of the read model, as batches of the log move them."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import datetime

import msgspec
import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from events.customer import (
    CustomerData,
    CustomerDeleted,
    CustomerErased,
    CustomerEvent,
    CustomerRestored,
    CustomerUpdated,
    PreviousData,
)
from events.document import render_document
from events.envelope import CustomerId, NewEvent, StreamVersion
from events.keys import Keyring
from events.log import PostgresLog
from projections.customers import fold_batch
from projections.failures import list_failures, retry_failure
from runtime.settings import Settings
from runtime.text import tag_key
from tests.support.builders import ACME, GLOBEX, JANE, Writer, created
from tests.support.projecting import Projecting, projecting

JOHN = CustomerData(email="john@example.com", tags=("vip", "gold"), external_id="cust-2")


@pytest.fixture
async def model(settings: Settings, keyring: Keyring) -> AsyncGenerator[Projecting]:
    """A projector of the live edition."""
    async with projecting(settings, keyring) as projecting_:
        yield projecting_


def updated(data: CustomerData) -> CustomerUpdated:
    return CustomerUpdated(customer=data, changed_fields=("email",), previous=PreviousData())


async def append(log: PostgresLog, writer: Writer, *events: NewEvent) -> None:
    await log.append([writer.group(event) for event in events])


def rows(owner: Connection[TupleRow]) -> list[dict[str, object]]:
    with owner.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("SELECT * FROM edition_1.customers ORDER BY position").fetchall()


def counts(owner: Connection[TupleRow]) -> dict[tuple[str, str, str], int]:
    query = "SELECT workspace_id, tag_key, spelling, customers FROM edition_1.counts"
    return {(row[0], row[1], row[2]): row[3] for row in owner.execute(query)}


def recount(owner: Connection[TupleRow]) -> dict[tuple[str, str, str], int]:
    counted: Counter[tuple[str, str, str]] = Counter()
    for row in rows(owner):
        workspace = str(row["workspace_id"])
        counted[workspace, "", ""] += 1
        keys = msgspec.convert(row["tag_keys"], list[str])
        spellings = msgspec.convert(row["tag_spellings"], list[str])
        for key, spelling in zip(keys, spellings, strict=True):
            counted[workspace, key, spelling] += 1
    return dict(counted)


def recorded_at(owner: Connection[TupleRow], customer_id: CustomerId, version: int) -> datetime:
    query = "SELECT recorded_at FROM log.events WHERE stream_id = %s AND stream_version = %s"
    row = owner.execute(query, [customer_id, version]).fetchone()
    assert row is not None
    return row[0]


async def test_a_created_customer_has_the_document_that_the_command_side_renders(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    customer = writer.a_customer()
    await append(postgres_log, writer, writer.event(customer))
    await model.catch_up()
    moment = recorded_at(owner, customer, 1)
    (row,) = rows(owner)
    assert row["document"] == render_document(
        customer, StreamVersion(1), JANE, created_at=moment, updated_at=moment
    )


@pytest.mark.parametrize("batch", [1, 10])
async def test_an_update_keeps_the_time_of_creation(
    model: Projecting,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
    batch: int,
) -> None:
    customer = writer.a_customer()
    await append(postgres_log, writer, writer.event(customer))
    await append(postgres_log, writer, writer.event(customer, 2, updated(JOHN)))
    await model.catch_up(batch)
    born, changed = recorded_at(owner, customer, 1), recorded_at(owner, customer, 2)
    (row,) = rows(owner)
    assert born < changed
    assert (row["created_at"], row["updated_at"], row["version"]) == (born, changed, 2)
    assert row["document"] == render_document(
        customer, StreamVersion(2), JOHN, created_at=born, updated_at=changed
    )


@pytest.mark.parametrize("batch", [1, 2, 10])
async def test_a_restored_customer_keeps_the_time_of_creation(
    model: Projecting,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
    batch: int,
) -> None:
    customer = writer.a_customer()
    await append(postgres_log, writer, writer.event(customer))
    await append(postgres_log, writer, writer.event(customer, 2, CustomerDeleted(customer=JANE)))
    await append(postgres_log, writer, writer.event(customer, 3, CustomerRestored(customer=JANE)))
    await model.catch_up(batch)
    (row,) = rows(owner)
    born, back = recorded_at(owner, customer, 1), recorded_at(owner, customer, 3)
    assert row["document"] == render_document(
        customer, StreamVersion(3), JANE, created_at=born, updated_at=back
    )
    assert counts(owner) == recount(owner)


async def test_a_deleted_customer_leaves_neither_row_nor_count(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    customer = writer.a_customer()
    await append(postgres_log, writer, writer.event(customer))
    await model.catch_up()
    await append(postgres_log, writer, writer.event(customer, 2, CustomerDeleted(customer=JANE)))
    await model.catch_up()
    assert (rows(owner), counts(owner)) == ([], {})


async def test_an_erased_customer_leaves_neither_row_nor_count(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    customer, other = writer.a_customer(), writer.a_customer()
    await append(postgres_log, writer, writer.event(customer), writer.event(other))
    await model.catch_up()
    await append(postgres_log, writer, writer.event(customer, 2, CustomerErased(positions=(1,))))
    await model.catch_up()
    assert [row["customer_id"] for row in rows(owner)] == [other]
    assert counts(owner) == recount(owner)


async def test_an_event_erased_since_moves_nothing_but_the_checkpoint(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    customer = writer.a_customer()
    await append(postgres_log, writer, writer.event(customer))
    await append(postgres_log, writer, writer.event(customer, 2, CustomerErased(positions=(1,))))
    owner.execute("DELETE FROM keyring.data_keys WHERE stream_id = %s", [customer])
    await model.catch_up(batch=1)
    assert (model.position, rows(owner), counts(owner)) == (2, [], {})


async def test_a_key_that_is_gone_without_an_erasure_parks_the_customer(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    customer, other = writer.a_customer(), writer.a_customer()
    await append(postgres_log, writer, writer.event(customer), writer.event(other))
    owner.execute("DELETE FROM keyring.data_keys WHERE stream_id = %s", [customer])
    await model.catch_up()
    assert [row["customer_id"] for row in rows(owner)] == [other]
    parked = owner.execute("SELECT customer_id, reason FROM edition_1.parked").fetchall()
    assert parked == [(customer, "CorruptEvent")]


def a_happening(chance: random.Random, kind: type[CustomerEvent] | None = None) -> CustomerEvent:
    tags = tuple(chance.sample(["vip", "VIP", "Gold", "gold", "Été"], chance.randrange(4)))
    data = CustomerData(email=f"c{chance.randrange(99)}@example.com", tags=tags)
    match kind or chance.choice([CustomerUpdated, CustomerUpdated, CustomerDeleted]):
        case kind_ if kind_ is CustomerUpdated:
            return updated(data)
        case kind_ if kind_ is CustomerRestored:
            return CustomerRestored(customer=data)
        case kind_ if kind_ is CustomerDeleted:
            return CustomerDeleted(customer=data)
        case _:
            return created(data)


@pytest.mark.parametrize("seed", range(4))
async def test_rows_and_counts_are_the_fold_of_the_log_however_it_is_cut(
    model: Projecting,
    postgres_log: PostgresLog,
    keyring: Keyring,
    owner: Connection[TupleRow],
    seed: int,
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a history to repeat, not a secret
    writers = [Writer(keyring, ACME), Writer(keyring, GLOBEX)]
    newest: dict[CustomerId, tuple[Writer, int, CustomerEvent]] = {}
    for _ in range(150):
        if not newest or chance.random() < 0.3:
            writer = chance.choice(writers)
            customer, version, event = writer.a_customer(), 1, a_happening(chance, type(created()))
        else:
            customer = chance.choice(list(newest))
            writer, version, before = newest[customer]
            is_gone = isinstance(before, CustomerDeleted)
            event = a_happening(chance, CustomerRestored if is_gone else None)
            version += 1
        newest[customer] = (writer, version, event)
        await append(postgres_log, writer, writer.event(customer, version, event))
    everything = await model.read()
    while events := await model.read(chance.randrange(1, 30)):
        assert await model.projector.apply(events) == "applied"

    expected = {row.customer_id: row for row in fold_batch(everything).rows}
    found = rows(owner)
    assert {row["customer_id"] for row in found} == set(expected)
    for row in found:
        whole = expected[msgspec.convert(row["customer_id"], CustomerId)]
        first = next(event for event in everything if event.stream_id == row["customer_id"])
        whole_row = {name: getattr(whole, name) for name in whole.__struct_fields__}
        assert row == whole_row | {"born": first.position}
    assert counts(owner) == recount(owner)


async def test_of_two_projectors_only_one_applies_a_batch(
    model: Projecting,
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
) -> None:
    await postgres_log.append([writer.creation() for _ in range(60)])
    async with projecting(settings, keyring) as other:
        for _ in range(6):
            batches = await asyncio.gather(model.read(10), other.read(10))
            outcomes = await asyncio.gather(
                model.projector.apply(batches[0]), other.projector.apply(batches[1])
            )
            assert sorted(outcomes) == ["applied", "moved"]
            await asyncio.gather(model.projector.reload(), other.projector.reload())
    assert (model.position, len(rows(owner))) == (60, 60)
    assert counts(owner) == recount(owner)


async def test_a_batch_that_does_not_stand_behind_the_checkpoint_writes_nothing(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    await postgres_log.append([writer.creation() for _ in range(4)])
    batch = await model.read(2)
    await model.catch_up()
    before = rows(owner)
    model.projector.checkpoint = msgspec.structs.replace(model.projector.checkpoint, position=0)
    assert await model.projector.apply(batch) == "moved"
    assert rows(owner) == before


async def test_events_of_a_history_that_the_log_does_not_have_are_refused(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    await postgres_log.append([writer.creation() for _ in range(2)])
    first, second = await model.read()
    foreign = msgspec.structs.replace(second, chain=bytes(32))
    beyond = msgspec.structs.replace(second, position=3)
    assert await model.projector.apply([first, foreign]) == "foreign"
    assert await model.projector.apply([first, second, beyond]) == "foreign"
    assert (await model.read(), rows(owner)) == ([first, second], [])


async def test_the_checkpoint_follows_the_log_into_a_newer_generation(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    await postgres_log.append([writer.creation() for _ in range(2)])
    await model.catch_up()
    log_id = model.projector.checkpoint.log_id
    owner.execute("INSERT INTO log.generations VALUES (%s, 2, 2, 'restored')", [log_id])
    await model.projector.reload()
    checkpoint = model.projector.checkpoint
    assert (checkpoint.generation, checkpoint.position) == (2, 2)
    await postgres_log.append([writer.creation()])
    await model.catch_up()
    assert model.position == 3


async def test_the_longest_values_fit_every_index(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    # One character that folds to eighteen.
    long = "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"
    data = CustomerData(
        email="é" * 242 + "@example.com",
        phone="+999999999999999",
        first_name=long * 300,
        last_name=long * 300,
        company_name="\N{DROMEDARY CAMEL}" * 500,
        external_id="\N{DROMEDARY CAMEL}" * 255,
        tags=tuple(f"{number:02}" + long * 98 for number in range(100)),
    )
    customer = writer.a_customer()
    await append(postgres_log, writer, writer.event(customer, 1, created(data)))
    await model.catch_up()
    assert [row["customer_id"] for row in rows(owner)] == [customer]
    assert counts(owner)[ACME, tag_key(ACME, data.tags[0]), data.tags[0]] == 1


# Parked customers.


def refuse_gold(owner: Connection[TupleRow]) -> None:
    owner.execute(
        "ALTER TABLE edition_1.customers"
        " ADD CONSTRAINT no_gold CHECK (NOT 'gold' = ANY (tag_spellings))"
    )


def accept_gold(owner: Connection[TupleRow]) -> None:
    owner.execute("ALTER TABLE edition_1.customers DROP CONSTRAINT no_gold")


async def parked(model: Projecting) -> dict[CustomerId, int]:
    failures = await list_failures(model.connection, 1, model.projector.checkpoint.log_id)
    return {failure.customer_id: failure.position for failure in failures}


async def test_a_row_that_postgres_refuses_parks_its_customer_and_no_other(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    refuse_gold(owner)
    fine, poison, late = writer.a_customer(), writer.a_customer(), writer.a_customer()
    await append(
        postgres_log,
        writer,
        writer.event(fine),
        writer.event(poison, 1, created(JOHN)),
        writer.event(late),
    )
    await model.catch_up()
    assert model.position == 3
    assert [row["customer_id"] for row in rows(owner)] == [fine, late]
    assert await parked(model) == {poison: 2}
    (failure,) = await list_failures(model.connection, 1, model.projector.checkpoint.log_id)
    assert failure.reason == "CheckViolation (SQLSTATE 23514)"
    assert "no_gold" in failure.stack
    assert counts(owner) == recount(owner)


async def test_an_event_that_nobody_can_read_parks_its_customer_and_no_other(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    fine, poison = writer.a_customer(), writer.a_customer()
    unknown = msgspec.structs.replace(writer.event(poison), schema_version=99)
    await append(postgres_log, writer, unknown, writer.event(fine))
    await model.catch_up()
    assert [row["customer_id"] for row in rows(owner)] == [fine]
    assert await parked(model) == {poison: 1}


async def test_later_events_of_a_parked_customer_wait(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    customer = writer.a_customer()
    await append(postgres_log, writer, writer.event(customer))
    await model.catch_up()
    (before,) = rows(owner)
    refuse_gold(owner)
    await append(postgres_log, writer, writer.event(customer, 2, updated(JOHN)))
    await append(postgres_log, writer, writer.event(customer, 3, updated(JANE)))
    await model.catch_up(1)
    assert rows(owner) == [before]
    assert await parked(model) == {customer: 2}


@pytest.mark.parametrize("end", [CustomerDeleted(customer=JOHN), CustomerErased(positions=(1, 2))])
@pytest.mark.parametrize("batch", [1, 10])
async def test_the_end_of_a_parked_customer_takes_row_and_counts_out(
    model: Projecting,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
    end: CustomerEvent,
    batch: int,
) -> None:
    customer = writer.a_customer()
    await append(postgres_log, writer, writer.event(customer))
    await model.catch_up()
    refuse_gold(owner)
    await append(postgres_log, writer, writer.event(customer, 2, updated(JOHN)))
    await append(postgres_log, writer, writer.event(customer, 3, end))
    await model.catch_up(batch)
    assert (rows(owner), counts(owner), await parked(model)) == ([], {}, {})


async def test_a_parked_customer_that_was_deleted_can_be_restored(
    model: Projecting, postgres_log: PostgresLog, writer: Writer, owner: Connection[TupleRow]
) -> None:
    customer = writer.a_customer()
    unknown = msgspec.structs.replace(writer.event(customer), schema_version=99)
    await append(postgres_log, writer, unknown)
    await model.catch_up()
    assert await parked(model) == {customer: 1}
    await append(postgres_log, writer, writer.event(customer, 2, CustomerDeleted(customer=JANE)))
    await append(postgres_log, writer, writer.event(customer, 3, CustomerRestored(customer=JANE)))
    await model.catch_up()
    assert [row["version"] for row in rows(owner)] == [3]
    assert await parked(model) == {}
    assert counts(owner) == recount(owner)


async def test_a_retry_brings_a_mended_customer_up_to_date(
    model: Projecting,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
) -> None:
    customer = writer.a_customer()
    await append(postgres_log, writer, writer.event(customer))
    refuse_gold(owner)
    await append(postgres_log, writer, writer.event(customer, 2, updated(JOHN)))
    await model.catch_up(1)
    log_id = model.projector.checkpoint.log_id
    (failure,) = await list_failures(model.connection, 1, log_id)
    who = (failure.workspace_id, failure.customer_id)

    again = await retry_failure(model.connection, keyring, 1, log_id, *who)
    assert again is not None
    assert again.reason == failure.reason
    assert await parked(model) == {customer: 2}
    assert [row["version"] for row in rows(owner)] == [1]

    accept_gold(owner)
    assert await retry_failure(model.connection, keyring, 1, log_id, *who) is None
    assert [row["version"] for row in rows(owner)] == [2]
    assert await parked(model) == {}
    assert counts(owner) == recount(owner)
    await model.projector.reload()
    await append(postgres_log, writer, writer.event(customer, 3, updated(JANE)))
    await model.catch_up()
    assert [row["version"] for row in rows(owner)] == [3]


async def test_the_projector_has_no_right_on_the_tables(model: Projecting) -> None:
    for query in ("SELECT FROM edition_1.customers", "DELETE FROM edition_1.checkpoints"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await model.connection.execute(query)
