"""A plan is made while the tables are empty and kept while they fill: it must not scan them."""

import msgspec
import psycopg

from events.envelope import Position
from events.keys import Keyring
from events.log import PostgresLog
from events.relay import BATCH_BYTES_MAX
from events.relay_log import RelayLog
from runtime.postgres import Role, connect, connect_as_owner
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.projecting import projecting
from tests.support.querying import reading
from tests.support.seeding import seed_customers

BATCHES = 30
PER_BATCH = 20
READS = 20


def rows_read(settings: Settings, table: str) -> int:
    """How many rows of a table were looked at since the database was made."""
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            """
            SELECT seq_tup_read + coalesce(idx_tup_fetch, 0)
              FROM pg_stat_all_tables WHERE relid = %s::regclass
            """,
            [table],
        ).fetchone()
    assert row is not None
    return int(row[0])


async def test_projecting_from_nothing_reads_no_more_rows_than_it_writes(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    async with projecting(settings, keyring) as projector:
        for _ in range(BATCHES):
            await postgres_log.append([writer.creation() for _ in range(PER_BATCH)])
            await projector.catch_up()
        await projector.connection.execute("SELECT pg_stat_force_next_flush()")
        await projector.connection.execute("SELECT 1")

        assert rows_read(settings, "edition_1.customers") <= BATCHES * PER_BATCH
        assert rows_read(settings, "keyring.data_keys") <= BATCHES * PER_BATCH
        # The newest event, the head and the range of each batch, each by index.
        assert rows_read(settings, "log.events") <= 5 * BATCHES * PER_BATCH


async def test_publishing_from_nothing_reads_no_more_rows_than_it_publishes(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    before = rows_read(settings, "log.events")
    async with await connect(settings, Role.RELAY, "test relay") as connection:
        log, position = RelayLog(connection, settings.log_id), Position(0)
        for _ in range(BATCHES):
            await postgres_log.append([writer.creation() for _ in range(PER_BATCH)])
            events = await log.read_batch(position, 1000, BATCH_BYTES_MAX)
            assert len(events) == PER_BATCH
            position = events[-1].stored.position
            # As an audit asks, of a stream with one hole.
            assert await log.first_unaccounted(1, [position]) == position
    # The size and the event of each, and what an append and an audit look at.
    assert rows_read(settings, "log.events") - before <= 5 * BATCHES * PER_BATCH
    assert rows_read(settings, "keyring.data_keys") <= BATCHES * PER_BATCH


async def test_before_there_are_statistics_a_filter_finds_its_index(settings: Settings) -> None:
    queries = (
        "email=c77@example.com",
        "phone=%2B155577",
        "external_id=cust-77",
        "external_id=cust-77&email=c77@example.com&sort=last_name",
        "email=c77@example.com&sort=-updated_at",
    )
    async with reading(msgspec.structs.replace(settings, pool_size=1)) as reader:
        with connect_as_owner(settings, "test seed") as owner:
            owner.execute("ALTER TABLE edition_1.customers SET (autovacuum_enabled = off)")
            seed_customers(owner, "acme", 5000)
        before = rows_read(settings, "edition_1.customers")
        for query in queries:
            answer = await reader.client.get(f"/customers?{query}")
            assert answer.json()["meta"]["total"] == 1
    read = rows_read(settings, "edition_1.customers") - before
    # To count, to find and to fetch one.
    assert 0 < read <= 3 * len(queries)


async def test_reads_that_were_planned_on_empty_tables_look_at_no_more_than_they_answer(
    settings: Settings,
) -> None:
    paths = ("/customers", "/customers/external/cust-77", "/customers/tags")
    async with reading(msgspec.structs.replace(settings, pool_size=1)) as reader:
        for path in paths * READS:
            await reader.client.get(path)
        with connect_as_owner(settings, "test seed") as owner:
            seed_customers(owner, "acme", 5000)
        before = rows_read(settings, "edition_1.customers")

        for path in paths * READS:
            assert (await reader.client.get(path)).status_code == 200

        # Closed, a connection has told all that it read.
    read = rows_read(settings, "edition_1.customers") - before
    # A page of 20 is found in one index and fetched by another, one customer likewise.
    assert 0 < read <= READS * (2 * 21 + 2)
