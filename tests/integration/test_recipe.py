"""The README's consumer in plain nats-py: each event has its effect once, whoever dies when."""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from nats.aio.client import Client
from psycopg import Connection
from psycopg.rows import TupleRow

from events.append import KeyedEvent
from events.keys import Keyring
from runtime.settings import Settings
from tests.support.builders import ACME, GLOBEX
from tests.support.feed import page, walk
from tests.support.histories import a_history, of_workspace
from tests.support.nats_server import NatsServer
from tests.support.readme import block
from tests.support.relaying import relaying
from tests.support.signals import until
from tests.support.stream import HandStream
from tests.support.writing import create

TITLE = "A consumer in 30 lines"

# Whoever comes to this point waits until the test lets go of the lock.
_HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4711);
    RETURN NEW;
END $$
"""
# The effect has happened, and its place is written, but nothing is committed.
_BEFORE_COMMIT = """
CREATE TRIGGER hold AFTER UPDATE ON customers_done
    FOR EACH ROW WHEN (NEW.sequence = {}) EXECUTE FUNCTION hold()
"""
# The event before is committed, and nothing has happened since.
_AFTER_COMMIT = """
CREATE TRIGGER hold BEFORE INSERT ON mails FOR EACH ROW EXECUTE FUNCTION hold()
"""
_WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def nats_url(broker: NatsServer) -> str:
    """A server that these tests may stop, and where log 1 is theirs."""
    return broker.url


@pytest.fixture
def log_id() -> int:
    """The log that the README speaks of."""
    return 1


@pytest.fixture
async def stream(client: Client, keyring: Keyring, log_id: int) -> AsyncGenerator[HandStream]:
    """Its stream, which is gone after the test."""
    stream_ = HandStream(client, keyring, log_id)
    await stream_.make()
    yield stream_
    await stream_.drop()


@pytest.fixture
def database(database_url: str) -> Generator[Connection[TupleRow]]:
    """A database of somebody else's, with the tables that the README tells to make."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(block(TITLE, "text").encode())
        connection.execute(_HOLD)
        yield connection


@contextmanager
def consuming(
    broker: NatsServer, database_url: str, tmp_path: Path
) -> Generator[subprocess.Popen[str]]:
    """The consumer, as a process; killed when the block ends."""
    script = tmp_path / "consumer.py"
    script.write_text(block(TITLE, "python"), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, script],
        env={"PATH": os.environ["PATH"], "NATS_URL": broker.url, "DATABASE_URL": database_url},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def count(database: Connection[TupleRow]) -> int:
    """How many effects there are."""
    row = database.execute("SELECT count(*) FROM mails").fetchone()
    assert row is not None
    return row[0]


async def held_at(database: Connection[TupleRow]) -> None:
    """Return when somebody waits at the trigger."""

    def is_held() -> bool:
        row = database.execute(_WAITS).fetchone()
        return row is not None and row[0] == 1

    await until(is_held)


@contextmanager
def hold(database: Connection[TupleRow], table: str, trigger: str) -> Generator[None]:
    """Let nobody past this trigger while the block runs."""
    database.execute("SELECT pg_advisory_lock(4711)")
    database.execute(trigger.encode())
    yield
    database.execute("SELECT pg_advisory_unlock(4711)")
    database.execute(f"DROP TRIGGER hold ON {table}".encode())


def test_it_has_fewer_than_30_lines() -> None:
    assert len([line for line in block(TITLE, "python").splitlines() if line]) < 30


@pytest.mark.timeout(180)
async def test_each_event_has_its_effect_once_whoever_is_killed_when(
    broker: NatsServer,
    client: Client,
    database: Connection[TupleRow],
    database_url: str,
    stream: HandStream,
    tmp_path: Path,
) -> None:
    history = a_history(1, 40, workspaces=(ACME, GLOBEX))
    await stream.publish(*history[:20])

    with (
        hold(database, "customers_done", _BEFORE_COMMIT.format(3)),
        consuming(broker, database_url, tmp_path) as process,
    ):
        await held_at(database)
        process.kill()
    assert count(database) == 2
    with consuming(broker, database_url, tmp_path) as process:
        await until(lambda: count(database) == 10)
        with hold(database, "mails", _AFTER_COMMIT):
            await stream.publish(*history[20:24])
            await held_at(database)
            process.kill()
            process.wait()
    assert count(database) == 10

    with consuming(broker, database_url, tmp_path) as process:
        await until(lambda: count(database) == 12)
        broker.kill()
        await until(lambda: not client.is_connected)
        broker.start()
        await until(lambda: client.is_connected)
        await stream.publish(*history[24:])
        await until(lambda: count(database) == 20)
        assert process.poll() is None
    assert effects(database) == wanted(history)


def effects(database: Connection[TupleRow]) -> list[str]:
    """The events that had their effect, in the order of it."""
    rows = database.execute("SELECT event_id::text FROM mails ORDER BY ctid").fetchall()
    return [row[0] for row in rows]


def wanted(history: list[KeyedEvent]) -> list[str]:
    """The events that ought to have one."""
    return [str(keyed.stored.event_id) for keyed in of_workspace(history, ACME)]


async def test_a_hole_and_another_history_end_it(
    broker: NatsServer,
    database: Connection[TupleRow],
    database_url: str,
    stream: HandStream,
    tmp_path: Path,
) -> None:
    history = a_history(1, 6)
    await stream.publish(*history)
    await stream.delete(4)
    with consuming(broker, database_url, tmp_path) as process:
        await until(lambda: process.poll() is not None)
        assert process.stderr is not None
        assert process.stderr.read() == "event 4 is not there, or not what it was\n"
    assert effects(database) == wanted(history)[:3]

    await stream.drop()
    await stream.make()
    await stream.publish(*a_history(1, 6))
    with consuming(broker, database_url, tmp_path) as process:
        await until(lambda: process.poll() is not None)
    assert effects(database) == wanted(history)[:3]


async def test_it_goes_on_behind_what_was_read_over_http(
    both: httpx.AsyncClient,
    broker: NatsServer,
    client: Client,
    database: Connection[TupleRow],
    settings: Settings,
    stream: HandStream,
    tmp_path: Path,
) -> None:
    for _ in range(3):
        await create(both)
    events, meta = await page(both, hand_over="true")
    # As the README says: the last event's sequence, the start_sequence, and no chain.
    row = (int(events[-1]["sequence"]), meta["hand_over"]["start_sequence"], "")
    database.execute("UPDATE customers_done SET (sequence, position, chain) = (%s, %s, %s)", row)

    async with relaying(settings, client):
        with consuming(broker, settings.database_url, tmp_path):
            for _ in range(2):
                await create(both)
            await until(lambda: count(database) == 2)
    assert effects(database) == [event["id"] for event in await walk(both)][3:]


async def test_what_it_found_missing_is_read_over_http_and_it_goes_on(
    broker: NatsServer,
    database: Connection[TupleRow],
    database_url: str,
    stream: HandStream,
    tmp_path: Path,
) -> None:
    history = a_history(1, 6)
    await stream.publish(*history)
    await stream.delete(4)
    # Event 4 was read over HTTP: its sequence is 4, and the hand-over behind it says 5.
    database.execute("UPDATE customers_done SET (sequence, position, chain) = (4, 5, '')")
    with consuming(broker, database_url, tmp_path):
        await until(lambda: count(database) == 2)
    assert effects(database) == wanted(history)[4:]
