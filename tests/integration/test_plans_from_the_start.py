"""A plan is made while the tables are empty and kept while they fill: it must not scan them."""

import psycopg

from events.keys import Keyring
from events.log import PostgresLog
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.projecting import projecting

BATCHES = 30
PER_BATCH = 20


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
