"""Erasure in JetStream: the messages go, and nothing else does; whoever comes next finishes."""

from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
from nats.aio.client import Client
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.chain import first_bad_position
from events.envelope import Position, RecordedEvent
from events.generations import begin_generation, find_fork
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from events.reading import recorded
from events.subscriber import CustomerSubscriber, Place
from runtime.postgres import Role, connect
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.erasing import (
    a_customer,
    a_ledger,
    an_eraser,
    erase,
    finishing,
    holes,
    look,
    until_finished,
)
from tests.support.feed import lose_history
from tests.support.relaying import relaying, until_published
from tests.support.signals import until
from tests.support.stream import HandStream

SOON = 0.05


async def test_the_messages_of_an_erased_customer_are_deleted_and_no_others(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
) -> None:
    jane = await a_customer(postgres_log, writer, 3)
    await a_customer(postgres_log, writer)
    async with (
        relaying(settings, client, audit_seconds=SOON) as relay,
        finishing(settings, client),
    ):
        await until_published(settings, client, 4)
        await erase(settings, jane)
        relay.wake()
        erasure = await until_finished(settings, jane)
        await postgres_log.append([writer.creation()])
        relay.wake()
        await until(lambda: relay.state.sequence == 6)
        assert (relay.state.condition, relay.state.words) == ("publishing", "")

    assert (erasure.events, erasure.messages, erasure.position) == (3, 3, 5)
    assert await holes(settings, client) == [1, 2, 3]
    events = await log_reader.read_after(Position(0), 10)
    assert first_bad_position(event.stored for event in events) is None
    # A stream that is filled from the log again has nothing of the person either.
    await client.jetstream().delete_stream(f"CUSTOMERS_{settings.log_id}_1")
    async with relaying(settings, client):
        await until_published(settings, client, 6)
    message = await client.jetstream().get_msg(f"CUSTOMERS_{settings.log_id}_1", seq=2)
    assert b'"data":null' in (message.data or b"")


async def test_a_subscriber_passes_what_was_erased_with_what_the_log_gives(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    keyring: Keyring,
) -> None:
    first = await a_customer(postgres_log, writer)
    jane = await a_customer(postgres_log, writer, 2)
    async with relaying(settings, client) as relay, finishing(settings, client):
        await erase(settings, jane)
        relay.wake()
        await until_finished(settings, jane)

    async def fill(place: Place) -> list[RecordedEvent]:
        events = await log_reader.read_after(place.position, 10)
        return [recorded(keyring, event) for event in events]

    assert first != jane
    async with CustomerSubscriber(lambda: client, log_id=settings.log_id, fill=fill) as subscriber:
        got = [await anext(subscriber) for _ in range(4)]
    assert [event.position for event in got] == [1, 2, 3, 4]
    assert [event.event is None for event in got] == [False, True, True, False]
    assert got[-1].type == "CustomerErased"


async def test_the_streams_of_earlier_generations_forget_too_what_was_lost_included(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
) -> None:
    jane = await a_customer(postgres_log, writer, 2)
    joe = await a_customer(postgres_log, writer)
    await postgres_log.append([writer.group(writer.event(jane, 3))])
    await postgres_log.append([writer.group(writer.event(joe, 2))])
    async with relaying(settings, client):
        await until_published(settings, client, 5)
    lose_history(settings, 3)
    fork = await find_fork(log_reader, client.jetstream(), settings.log_id)
    async with await connect(settings, Role.RELAY, "test generations") as connection:
        await begin_generation(connection, settings.log_id, fork, "restored")

    async with relaying(settings, client) as relay, finishing(settings, client):
        await until_published(settings, client, 3, generation=2)
        await erase(settings, jane)
        relay.wake()
        erasure = await until_finished(settings, jane)

    assert erasure.messages == 5
    assert await holes(settings, client, 1) == [1, 2, 4]
    assert await holes(settings, client, 2) == [1, 2]


async def test_a_stream_that_is_an_older_copy_loses_the_messages_again(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    keyring: Keyring,
) -> None:
    jane = await a_customer(postgres_log, writer, 2)
    await a_customer(postgres_log, writer)
    before = await log_reader.read_after(Position(0), 10)
    async with relaying(settings, client) as relay, finishing(settings, client):
        await erase(settings, jane)
        relay.wake()
        await until_finished(settings, jane)
    old = HandStream(client, keyring, settings.log_id)
    await old.drop()
    await old.make()
    await old.publish(*before)

    async with (
        relaying(settings, client) as relay,
        finishing(settings, client, audit_seconds=SOON),
    ):
        await until_published(settings, client, 4)
        await until(lambda: _are_gone(settings, client, [1, 2]))


async def test_what_was_under_way_when_the_process_died_is_finished_by_the_next(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    jane = await a_customer(postgres_log, writer, 2)
    await a_customer(postgres_log, writer)
    async with relaying(settings, client):
        await erase(settings, jane)
        await until_published(settings, client, 4)
    statements = 0
    finished = False
    while not finished:
        # The database is lost at the next statement each time, until none is left.
        statements += 1
        eraser = an_eraser(settings, client, connect_=partial(_dying, settings, statements))
        with suppress(psycopg.OperationalError):
            await eraser.finish_once()
        erasure = await look(settings, jane)
        finished = erasure.messages_deleted_at is not None
        if finished:
            assert erasure.ledger_at is not None
            assert erasure.forgotten_at is not None
        if erasure.ledger_at is not None:
            assert erasure.forgotten_at is not None
    assert statements > 5
    assert await holes(settings, client) == [1, 2]
    found = await a_ledger(settings, client).stream.look()
    assert found is not None
    assert found[1] >= 1


async def test_while_the_stream_is_another_history_nothing_is_deleted_from_it(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation() for _ in range(6)])
    async with relaying(settings, client):
        await until_published(settings, client, 6)
    lose_history(settings, 2)
    jane = await a_customer(postgres_log, writer, 2)
    erasure = await erase(settings, jane)
    assert erasure.position == 5
    eraser = an_eraser(settings, client)
    await eraser.finish_once()
    erasure = await look(settings, jane)
    assert (erasure.ledger_at is None, erasure.messages_deleted_at) == (False, None)
    assert await holes(settings, client) == []


async def _are_gone(settings: Settings, client: Client, sequences: list[int]) -> bool:
    return await holes(settings, client) == sequences


async def _dying(settings: Settings, statements: int) -> AsyncConnection[TupleRow]:
    """A connection that is lost after so many statements."""
    connection = await connect(settings, Role.RELAY, "test eraser")
    execute = connection.execute
    left = statements

    async def count(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise psycopg.OperationalError("the server closed the connection")
        return await execute(*arguments, **options)

    connection.execute = count
    return connection
