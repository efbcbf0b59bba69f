"""The roles of the processes belong to the whole server: many databases and owners share them."""

import shutil
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from runtime.embedded import EmbeddedPostgres, make_folder
from runtime.postgres import Role, connect
from runtime.schema import migrate
from runtime.settings import Settings

DATABASES = 4


@pytest.fixture
def new_server() -> Generator[str]:
    """The URL of a server that has none of our roles yet."""
    folder = make_folder(Path(tempfile.mkdtemp(prefix="customers-test-")))
    postgres = EmbeddedPostgres(folder, password="secret", durable=False)
    try:
        postgres.launch()
        postgres.wait_ready()
        yield postgres.url
    finally:
        postgres.stop()
        postgres.erase()
        shutil.rmtree(folder, ignore_errors=True)


def test_databases_of_one_server_may_be_migrated_at_the_same_time(new_server: str) -> None:
    names = [f"d{number}" for number in range(DATABASES)]
    with psycopg.connect(new_server, autocommit=True) as connection:
        for name in names:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    start = Barrier(DATABASES)

    def migrate_one(name: str) -> list[str]:
        settings = Settings(database_url=make_conninfo(new_server, dbname=name))
        start.wait()
        return migrate(settings)

    with ThreadPoolExecutor(DATABASES) as threads:
        applied = list(threads.map(migrate_one, names))
    assert all(each == applied[0] and "runtime/0001_roles" in each for each in applied)


async def test_an_owner_without_superuser_can_migrate_and_become_each_role(
    new_server: str,
) -> None:
    with psycopg.connect(new_server, autocommit=True) as connection:
        for owner in ("one", "two"):
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x' CREATEROLE").format(
                    sql.Identifier(owner)
                )
            )
            connection.execute(
                sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(owner))
            )
        url = make_conninfo(new_server, user="one", password="x", dbname="one")
        migrate(Settings(database_url=url))
        for role in Role:
            async with await connect(Settings(database_url=url), role, "test") as process:
                row = await (await process.execute("SELECT current_user")).fetchone()
                assert row == (role.value,)
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await process.execute("TABLE control.api_keys")
        # Whoever did not make the roles may only take them on when they are granted.
        url = make_conninfo(new_server, user="two", password="x", dbname="two")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            migrate(Settings(database_url=url))
        for role in Role:
            connection.execute(sql.SQL("GRANT {} TO two").format(sql.Identifier(role.value)))
        assert migrate(Settings(database_url=url))
