"""Behind a pooler in transaction mode: the login brings along what the pooler does not pass on."""

from collections.abc import Generator

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

from runtime.pooler import NotOfTheRole, insist
from runtime.postgres import Role, connect, connect_blocking
from runtime.settings import Settings

ROLE = Role.API.value


@pytest.fixture
def login(settings: Settings) -> Generator[str]:
    """The URL of a login that may become the API's role; a pooler logs in with no more."""
    name = f"pooled_{settings.log_id}"
    with psycopg.connect(settings.database_url, autocommit=True) as owner:
        known = {"name": sql.Identifier(name), "role": sql.Identifier(ROLE)}
        owner.execute(sql.SQL("CREATE ROLE {name} LOGIN PASSWORD 'secret'").format(**known))
        owner.execute(sql.SQL("GRANT {role} TO {name}").format(**known))
        yield make_conninfo(settings.database_url, user=name, password="secret")
        owner.execute(sql.SQL("DROP ROLE {name}").format(**known))


async def test_a_login_that_brings_nothing_along_is_refused_and_told_what_mends_it(
    settings: Settings, login: str
) -> None:
    bare = make_conninfo(login, options="-c synchronous_commit=off -c timezone=Europe/Vienna")
    async with await AsyncConnection.connect(bare, autocommit=True) as connection:
        with pytest.raises(NotOfTheRole) as refused:
            await insist(connection, ROLE)
    said = str(refused.value).partition("As the owner: ")[2].partition(" Then")[0]
    assert said.count("ALTER ROLE") == 3

    with psycopg.connect(settings.database_url, autocommit=True) as owner:
        owner.execute(said.encode())
    async with await AsyncConnection.connect(login, autocommit=True) as connection:
        await insist(connection, ROLE)
        cursor = await connection.execute("SELECT current_user")
        assert await cursor.fetchone() == (ROLE,)


async def test_without_a_pooler_the_same_setting_needs_nothing_of_the_login(
    settings: Settings, login: str
) -> None:
    pooled = replace(settings, database_url=login, prepared_statements=False)
    async with await connect(pooled, Role.API, "test") as connection:
        assert connection.prepare_threshold is None
    with connect_blocking(pooled, Role.API, "test") as blocking:
        assert blocking.prepare_threshold is None


async def test_nobody_works_with_the_rights_of_the_owner_in_place_of_the_role(
    settings: Settings,
) -> None:
    url = settings.database_url
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        with pytest.raises(NotOfTheRole, match="SET role = customers_relay"):
            await insist(connection, Role.RELAY)
