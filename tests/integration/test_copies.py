"""A server whose commits wait for a standby that is not there: nothing rests on it alone."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from secrets import token_urlsafe

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import CustomerId, StreamVersion
from events.log import PostgresLog
from runtime.embedded import EmbeddedPostgres, make_folder
from runtime.ids import new_id
from runtime.postgres import COPY_SECONDS, NotCopied, Pool, Role, ask, connect_copied, make_pool
from runtime.sessions import OpenTransaction, ask_transactions
from runtime.settings import Settings
from runtime.tasks import end
from tests.support.builders import ACME
from tests.support.signals import turns, until


@pytest.fixture(scope="module")
def lonely() -> Generator[Settings]:
    """Settings of a service on a server that waits for a standby which does not exist."""
    with tempfile.TemporaryDirectory(prefix="customers-copies-") as name:
        folder = make_folder(Path(name))
        server = EmbeddedPostgres(folder, password=token_urlsafe(18), durable=False)
        try:
            server.launch()
            server.wait_ready()
            with psycopg.connect(server.url, autocommit=True) as owner:
                owner.execute("CREATE ROLE customers_api")
                owner.execute("CREATE ROLE customers_relay")
                owner.execute("CREATE TABLE kept (n int)")
                owner.execute("GRANT ALL ON kept TO customers_api, customers_relay")
                owner.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                owner.execute("SELECT pg_reload_conf()")
            yield Settings(database_url=server.url)
        finally:
            server.stop()
            server.erase()


@pytest.fixture
async def pool(lonely: Settings) -> AsyncGenerator[Pool]:
    """A pool of an API process there."""
    async with make_pool(lonely, Role.API, "test api", size=2) as opened:
        yield opened


async def _stop_waits(url: str) -> None:
    """Stop every wait for the standby, as a person may who is tired of it."""
    async with await AsyncConnection.connect(url, autocommit=True) as owner:
        while True:
            await owner.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            )
            await turns(1)


async def test_what_the_server_alone_has_is_no_answer_though_its_commit_counts(
    lonely: Settings, pool: Pool
) -> None:
    async def write(connection: AsyncConnection[TupleRow]) -> None:
        await connection.execute("INSERT INTO kept VALUES (1)")

    async def read(connection: AsyncConnection[TupleRow]) -> bool:
        return bool(await (await connection.execute("SELECT FROM kept")).fetchall())

    stopping = asyncio.create_task(_stop_waits(lonely.database_url))
    try:
        with pytest.raises(NotCopied):
            await ask(pool, write)
    finally:
        await end(stopping)
    assert await ask(pool, read)


async def test_nothing_is_shown_to_a_relay_that_the_standby_may_lack(lonely: Settings) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(psycopg.OperationalError):
        await connect_copied(lonely, Role.RELAY, "test relay")
    assert loop.time() - began >= COPY_SECONDS


async def test_that_there_was_nothing_to_write_is_no_answer_either(
    lonely: Settings, pool: Pool
) -> None:
    stopping = asyncio.create_task(_stop_waits(lonely.database_url))
    try:
        with pytest.raises(NotCopied):
            await PostgresLog(pool, 1).are_newest(ACME, {CustomerId(new_id()): StreamVersion(1)})
    finally:
        await end(stopping)


async def test_the_doctor_asks_for_the_standby_of_a_commit_that_waits_for_it(
    lonely: Settings, pool: Pool
) -> None:
    async def write(connection: AsyncConnection[TupleRow]) -> None:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(730541, 1)")
            await connection.execute("INSERT INTO kept VALUES (1)")

    def waiting() -> list[OpenTransaction]:
        found = ask_transactions(lonely, append_seconds=0)
        return [one for one in found if one.awaits_standby]

    writing = asyncio.create_task(ask(pool, write))
    try:
        await until(lambda: bool(waiting()))
        [told] = waiting()
    finally:
        await end(writing)
    assert told.words.endswith("and waits for the synchronous standby: no write goes on")
    assert "start the standby" in told.mend
    assert "terminate" not in told.mend
