"""Whoever hangs up in the middle of an answer costs the others nothing."""

import asyncio
import os

import httpx
from msgspec.structs import replace
from psycopg import Connection
from psycopg.rows import TupleRow

from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key
from tests.support.feed import STREAM, serving
from tests.support.signals import turns
from tests.support.writing import create

_CONNECTIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'customers api'"


async def leave_early(port: int, path: str, key: str, count: int) -> None:
    """Ask, and hang up when the answer has begun, a little later each time."""
    for after in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\n\r\n".encode())
        await reader.read(64)
        await turns(after)
        writer.close()
        await writer.wait_closed()


async def test_a_reader_that_leaves_takes_no_connection_to_the_database_along(
    settings: Settings, owner: Connection[TupleRow]
) -> None:
    key = make_key(settings)
    async with serving(replace(settings, pool_size=1, read_wait=0), key) as (server, client):
        customer = await create(client)
        await write_much(client, customer)
        before = owner.execute(_CONNECTIONS).fetchall()
        for path in (
            STREAM,
            f"{CUSTOMERS}/{customer}/history?format=csv",
            f"{CUSTOMERS}/{customer}/personal-data",
        ):
            await leave_early(server.port, path, key, 15)
            assert (await client.get(path.partition("/stream")[0])).status_code == 200
        assert owner.execute(_CONNECTIONS).fetchall() == before


async def write_much(client: httpx.AsyncClient, customer: str) -> None:
    """A history that no page holds whole."""
    for _ in range(40):
        change = {"custom_fields": {"x": os.urandom(7000).hex()}}
        answer = await client.patch(f"{CUSTOMERS}/{customer}", json=change)
        assert answer.status_code == 200
