"""What the database refuses, whoever asks."""

import asyncio

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import AsyncConnection

from events.append import Appended, GroupRefused
from events.append_call import APPEND, parameters_of
from events.chain import first_bad_position
from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from runtime.postgres import Role, connect
from runtime.settings import Settings
from tests.support.builders import ACME, Writer
from tests.support.signals import until


@pytest.fixture
async def filled(postgres_log: PostgresLog, keyring: Keyring) -> Writer:
    """A log with an event, and its writer."""
    writer = Writer(keyring)
    await postgres_log.append([writer.creation("cust-1")])
    return writer


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log.events SET payload = 'x'",
        "DELETE FROM log.events",
        "TRUNCATE log.events",
        "SET session_replication_role = replica; DELETE FROM log.events",
    ],
)
async def test_even_the_owner_cannot_change_the_log(
    filled: Writer, database_url: str, statement: str
) -> None:
    async with await AsyncConnection.connect(database_url, autocommit=True) as owner:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            await owner.execute(statement.encode())


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO log.events SELECT * FROM log.events",
        "UPDATE log.events SET type = 'x'",
        "DELETE FROM log.events",
        "TRUNCATE log.events",
        "DROP TRIGGER events_refuse_change ON log.events",
        "DELETE FROM keyring.data_keys",
    ],
)
async def test_no_process_has_the_right_to_change_the_log(
    filled: Writer, settings: Settings, role: Role, statement: str
) -> None:
    async with await connect(settings, role, "test") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement.encode())


@pytest.mark.parametrize(
    "table",
    ["log.events", "log.reservations", "log.receipts", "keyring.data_keys", "keyring.secrets"],
)
async def test_the_api_reads_no_table_only_functions_that_name_the_workspace(
    filled: Writer, settings: Settings, table: str
) -> None:
    async with await connect(settings, Role.API, "test") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(f"SELECT * FROM {table}".encode())  # noqa: S608 - names above


async def test_appending_above_read_committed_is_refused(
    settings: Settings, filled: Writer, log_reader: LogReader
) -> None:
    async with await connect(settings, Role.API, "test") as connection:
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(psycopg.errors.InvalidTransactionState, match="READ COMMITTED"):
            await connection.execute(APPEND, parameters_of(1, [filled.creation()]))
        await connection.execute("ROLLBACK")


async def test_a_reader_never_sees_a_later_position_before_an_earlier_one(
    settings: Settings, postgres_log: PostgresLog, log_reader: LogReader, filled: Writer
) -> None:
    """A transaction that appended and is held open keeps everybody behind it, not past it."""
    async with await connect(settings, Role.API, "slow writer") as slow:
        await slow.execute("BEGIN")
        await slow.execute(APPEND, parameters_of(settings.log_id, [filled.creation()]))
        others = asyncio.gather(*(postgres_log.append([filled.creation()]) for _ in range(3)))
        await _wait_for_lock_waiters(settings, 1)

        assert [e.stored.position for e in await log_reader.read_after(Position(0), 10)] == [1]

        await slow.execute("COMMIT")
        await others

    events = [keyed.stored for keyed in await log_reader.read_after(Position(0), 10)]
    assert [event.position for event in events] == [1, 2, 3, 4, 5]
    assert first_bad_position(events) is None


async def test_values_the_database_refuses_fail_their_group_alone(
    postgres_log: PostgresLog, log_reader: LogReader, filled: Writer
) -> None:
    bad = replace(filled.creation(), workspace_id="No Such Form")

    outcomes = await postgres_log.append([filled.creation(), bad, filled.creation()])

    assert [type(outcome) for outcome in outcomes] == [Appended, GroupRefused, Appended]
    assert outcomes[1] == GroupRefused(sqlstate="23514")
    assert (await log_reader.head()).position == 3


async def test_a_lost_connection_is_followed_by_one_more_sending(
    postgres_log: PostgresLog, log_reader: LogReader, filled: Writer, database_url: str
) -> None:
    async with await AsyncConnection.connect(database_url, autocommit=True) as owner:
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
            ["test api"],
        )
    await postgres_log.append([filled.creation()])

    assert (await log_reader.head()).position == 2
    assert set(await postgres_log.find_reservations(ACME, ["cust-1"])) == {"cust-1"}


async def _wait_for_lock_waiters(settings: Settings, count: int) -> None:
    async with await AsyncConnection.connect(settings.database_url, autocommit=True) as owner:

        async def is_waiting() -> bool:
            cursor = await owner.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                "AND objid = %s",
                [settings.log_id],
            )
            row = await cursor.fetchone()
            return row is not None and row[0] >= count

        await until(is_waiting)
