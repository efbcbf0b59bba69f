"""After a restore to an earlier point: the log goes on in a new generation, told to everybody."""

import psycopg
import pytest
from nats.aio.client import Client
from psycopg import Connection
from psycopg.rows import TupleRow

from events.append import Head
from events.envelope import Position
from events.errors import LostHistory, NoFork
from events.generations import begin_generation, find_fork
from events.jetstream import stream_name
from events.log import LogReader, PostgresLog
from events.place import Place
from events.subscriber import CustomerSubscriber
from runtime.postgres import Role, connect
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.command import Command, Ran
from tests.support.feed import lose_history
from tests.support.relaying import publish_creations, relaying, until_published
from tests.support.signals import until


async def new_generation(settings: Settings) -> Ran:
    """`customers relay new-generation`, as an operator runs it."""
    command = "customers relay new-generation --reason 'restored to 12:00'"
    return await Command(settings=settings).shell(command)


async def test_a_log_that_was_restored_goes_on_in_a_stream_of_its_own(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    owner: Connection[TupleRow],
) -> None:
    await postgres_log.append([writer.creation() for _ in range(5)])
    async with relaying(settings, client) as relay:
        await until_published(settings, client, 5)
        kept = [keyed.stored for keyed in await log_reader.read_after(Position(0), 10)]
        lose_history(settings, 3)
        await postgres_log.append([writer.creation() for _ in range(4)])
        relay.wake()
        await until(lambda: "customers relay new-generation" in relay.state.words)
        assert relay.state.condition == "stopped"
        assert await last_sequence(client, settings, 1) == 5

        ran = await new_generation(settings)
        assert (ran.code, ran.err) == (0, "")
        assert f"JetStream stream {stream_name(settings.log_id, 2)} from the log" in ran.out
        assert "up to position 3; " in ran.out
        assert "goes on to 5 with another" in ran.out

        await until_published(settings, client, 7, generation=2)
        assert await last_sequence(client, settings, 1) == 5
    row = owner.execute("SELECT generation, forked_at, reason FROM log.generations").fetchall()
    assert row == [(2, 3, "restored to 12:00")]

    # Who read no more than both have goes on; who read what was lost is told.
    shared, lost = (
        Place(position=event.position, chain=event.chain) for event in (kept[2], kept[4])
    )
    async with CustomerSubscriber(client, log_id=settings.log_id, start=shared) as subscriber:
        assert [(await anext(subscriber)).position for _ in range(4)] == [4, 5, 6, 7]
    with pytest.raises(LostHistory):
        async with CustomerSubscriber(client, log_id=settings.log_id, start=lost) as subscriber:
            await anext(subscriber)


async def last_sequence(client: Client, settings: Settings, generation: int) -> int:
    """Where the stream of a generation ends."""
    name = stream_name(settings.log_id, generation)
    return (await client.jetstream().stream_info(name)).state.last_seq


@pytest.mark.parametrize("erased", range(1, 5))
async def test_where_history_parted_is_found_beside_holes_too(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    erased: int,
) -> None:
    await publish_creations(settings, client, postgres_log, writer, 6)
    await client.jetstream().delete_msg(stream_name(settings.log_id, 1), erased)
    lose_history(settings, 4)
    await postgres_log.append([writer.creation() for _ in range(9)])
    fork = await find_fork(log_reader, client.jetstream(), settings.log_id)
    # Of a hole at the very end of what is shared nothing can be told, so it is not counted.
    assert fork.shared == (3 if erased == 4 else 4)


async def test_no_generation_begins_while_the_stream_is_a_copy_of_the_log(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
) -> None:
    ran = await new_generation(settings)
    assert ran.code == 1
    assert "does not exist, and the relay makes it from the log" in ran.err
    await publish_creations(settings, client, postgres_log, writer, 2)
    await postgres_log.append([writer.creation()])
    ran = await new_generation(settings)
    assert ran.code == 1
    assert "is a copy of the log up to 2" in ran.err
    assert owner.execute("SELECT count(*) FROM log.generations").fetchone() == (0,)


async def test_of_two_who_begin_a_generation_only_one_does(
    settings: Settings,
    client: Client,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
) -> None:
    await publish_creations(settings, client, postgres_log, writer, 2)
    lose_history(settings, 1)
    fork = await find_fork(log_reader, client.jetstream(), settings.log_id)
    async with await connect(settings, Role.RELAY, "test generations") as connection:
        await begin_generation(connection, settings.log_id, fork, "one")
        with pytest.raises(NoFork, match="another generation was begun"):
            await begin_generation(connection, settings.log_id, fork, "other")
    head: Head = await log_reader.head()
    assert (head.generation, head.position) == (2, 1)


async def test_nobody_but_the_relay_may_begin_one(settings: Settings) -> None:
    for role in (Role.API, Role.PROJECTOR):
        async with await connect(settings, role, "test generations") as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("SELECT log.begin_generation(1, 1, 0, 'x')")


@pytest.mark.parametrize(
    ("url", "words"), [("nats://127.0.0.1:1", "Connect call failed"), ("", "is not set")]
)
def test_without_nats_no_generation_begins_and_nobody_waits_for_long(
    settings: Settings, url: str, words: str
) -> None:
    command = Command(settings=settings)
    refused = command.run("relay", "new-generation", "--reason", "lost", CUSTOMERS_NATS_URL=url)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("error: ")
    assert words in refused.err
