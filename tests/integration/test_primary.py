"""Which Postgres is the primary, and what may be answered from it when a standby is waited for."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from runtime.embedded import EmbeddedPostgres, make_folder
from runtime.embedded.ports import free_port
from runtime.postgres import Pool, Role, ask, await_copies, connect, make_pool
from runtime.primary import NotPrimary, primary_of
from runtime.settings import Settings
from tests.support.signals import until

PASSWORD = token_urlsafe(18)


def beside_nobody(url: str, **parameters: str) -> str:
    """The address of a server, behind that of one where nobody listens."""
    given = conninfo_to_dict(url)
    return make_conninfo(
        url,
        host=f"127.0.0.1,{given['host']}",
        port=f"{free_port()},{given['port']}",
        **parameters,
    )


@pytest.fixture
async def pool(settings: Settings) -> AsyncGenerator[Pool]:
    """A pool of a service that was given two addresses."""
    two = replace(settings, database_url=beside_nobody(settings.database_url))
    async with make_pool(two, Role.API, "test api", size=1) as opened:
        yield opened


async def server_port(connection: AsyncConnection[TupleRow]) -> int:
    """The port of the server that this connection leads to."""
    return connection.info.port


async def test_of_several_servers_the_one_that_takes_writes_is_found(
    settings: Settings, pool: Pool
) -> None:
    port = int(str(conninfo_to_dict(settings.database_url)["port"]))
    assert await ask(pool, server_port) == port
    two = replace(settings, database_url=beside_nobody(settings.database_url))
    async with await connect(two, Role.RELAY, "test relay") as connection:
        assert await server_port(connection) == port


async def test_an_address_that_wants_any_server_is_left_as_it_is(settings: Settings) -> None:
    any_of_two = beside_nobody(settings.database_url, target_session_attrs="any")
    assert await primary_of(any_of_two) == any_of_two
    assert await primary_of(settings.database_url) == settings.database_url


async def test_without_a_primary_the_database_is_away() -> None:
    nobody = f"postgresql://a:b@127.0.0.1:{free_port()},127.0.0.1:{free_port()}/c"
    with pytest.raises(NotPrimary, match="None of the servers takes writes"):
        await primary_of(f"{nobody}?target_session_attrs=read-write")


async def test_a_server_that_takes_no_writes_any_more_is_left_and_found_again(
    pool: Pool,
) -> None:
    pids: list[int] = []

    async def write(connection: AsyncConnection[TupleRow]) -> None:
        pids.append(connection.info.backend_pid)
        if len(pids) == 1:
            # As behind a pooler whose server was demoted.
            await connection.execute("SET default_transaction_read_only = on")
        await connection.execute("SELECT log.prune_receipts(1, 2)")

    await ask(pool, write)

    assert len(set(pids)) == 2


async def test_a_server_that_takes_no_writes_at_all_is_a_database_that_is_away(
    pool: Pool,
) -> None:
    async def write(connection: AsyncConnection[TupleRow]) -> None:
        await connection.execute("SET default_transaction_read_only = on")
        await connection.execute("SELECT log.prune_receipts(1, 2)")

    with pytest.raises(psycopg.OperationalError):
        await ask(pool, write)


@contextmanager
def a_server(folder: Path, port: int, *, is_promoted: bool = False) -> Generator[EmbeddedPostgres]:
    """A Postgres of its own, with the role of an API; one that was promoted has a new timeline."""
    server = EmbeddedPostgres(make_folder(folder), password=PASSWORD, port=port, durable=False)
    try:
        server.launch()
        server.wait_ready()
        with psycopg.connect(server.url, autocommit=True) as owner:
            owner.execute("CREATE ROLE customers_api")
            [data] = owner.execute("SHOW data_directory").fetchone() or ("",)
        if is_promoted:
            server.stop()
            Path(data, "standby.signal").touch()
            server.launch()
            server.wait_ready()
            with psycopg.connect(server.url, autocommit=True) as owner:
                owner.execute("SELECT pg_promote()")
        yield server
    finally:
        server.stop()
        server.erase()


async def test_who_waits_for_an_old_primary_is_answered_by_the_new_one_as_soon_as_it_is_seen(
    tmp_path: Path,
) -> None:
    ports = [free_port(), free_port()]
    with a_server(tmp_path / "old", ports[0]) as old:
        url = make_conninfo(old.url, host="127.0.0.1,127.0.0.1", port=",".join(map(str, ports)))
        two = Settings(database_url=url)
        asked: list[int] = []

        async def ask_for_ever(connection: AsyncConnection[TupleRow]) -> int:
            asked.append(connection.info.port)
            if connection.info.port == ports[0]:
                # As a commit whose standby has left.
                await connection.execute("SELECT pg_sleep(600)")
            return connection.info.port

        async with make_pool(two, Role.API, "test api", size=2) as pool:
            asking = asyncio.create_task(ask(pool, ask_for_ever))
            await until(lambda: asked == [ports[0]])
            with a_server(tmp_path / "new", ports[1], is_promoted=True):

                async def is_answered() -> bool:
                    async with await connect(two, Role.API, "test beat"):
                        return asking.done()

                await until(is_answered)
                assert await asking == ports[1]


async def test_without_a_standby_nothing_is_waited_for_and_nothing_written(
    settings: Settings,
) -> None:
    async with await connect(settings, Role.API, "test api") as connection:

        async def is_in_a_transaction() -> bool:
            row = await (await connection.execute("SELECT txid_current_if_assigned()")).fetchone()
            return row is not None and row[0] is not None

        async with asyncio.timeout(30), connection.transaction():
            await await_copies(connection)
            assert not await is_in_a_transaction()
