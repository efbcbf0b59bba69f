"""Rows, counters and checkpoint of the read model, applied from the log."""

from psycopg import Connection
from psycopg.rows import TupleRow
from tests.support.builders import Writer, created
from tests.support.projecting import projecting

from events.customer import CustomerData
from events.keys import Keyring
from events.log import PostgresLog
from runtime.settings import Settings


async def test_smoke(settings: Settings, keyring: Keyring, postgres_log: PostgresLog) -> None:
    writer = Writer(keyring)
    await postgres_log.append([writer.creation() for _ in range(5)])
    async with projecting(settings, keyring) as model:
        await model.catch_up(2)
        assert model.position == 5
