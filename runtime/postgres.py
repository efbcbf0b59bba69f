"""Connections to Postgres: every process becomes its own role, never the owner of the tables."""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from runtime.settings import Settings

T = TypeVar("T")
Pool: TypeAlias = AsyncConnectionPool[AsyncConnection[TupleRow]]

POOL_SECONDS: Final = 2.0
# A peer that is gone is noticed within seconds; a connect to nowhere never hangs a worker.
_LIVELINESS = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class Role(StrEnum):
    """What a process may do in the database; made by the first migration."""

    API = "customers_api"
    RELAY = "customers_relay"
    PROJECTOR = "customers_projector"


def _conninfo(settings: Settings, role: Role | None, name: str, statement_timeout: int) -> str:
    options = [
        str(conninfo_to_dict(settings.database_url).get("options", "")),
        f"-c statement_timeout={statement_timeout}s",
        "-c idle_in_transaction_session_timeout=60s",
        # What has answered is durable, whatever the server's own default.
        "-c synchronous_commit=on",
        "-c timezone=UTC",
    ]
    if role is not None:
        options.append(f"-c role={role.value}")
    return make_conninfo(
        settings.database_url,
        options=" ".join(filter(None, options)),
        application_name=name,
        **_LIVELINESS,
    )


def _prepare_threshold(settings: Settings) -> int | None:
    return 0 if settings.prepared_statements else None


async def connect(
    settings: Settings, role: Role, name: str, *, statement_timeout: int = 30
) -> AsyncConnection[TupleRow]:
    """One autocommit connection in the given role; raises psycopg.OperationalError."""
    return await AsyncConnection.connect(
        _conninfo(settings, role, name, statement_timeout),
        autocommit=True,
        prepare_threshold=_prepare_threshold(settings),
    )


def connect_as_owner(settings: Settings, name: str) -> Connection[TupleRow]:
    """One blocking connection with the rights of the URL itself: migrations and keys need them."""
    return Connection.connect(_conninfo(settings, None, name, 0), autocommit=True)


def make_pool(settings: Settings, role: Role, name: str, *, size: int) -> Pool:
    """A closed pool of autocommit connections in the role; open it inside the running loop."""
    return AsyncConnectionPool(
        _conninfo(settings, role, name, 30),
        kwargs={"autocommit": True, "prepare_threshold": _prepare_threshold(settings)},
        min_size=min(2, size),
        max_size=size,
        max_waiting=1000,
        timeout=POOL_SECONDS,
        # Short, so that it is the next request that tries again, and not a timer that backs off:
        # the first request after an outage finds the database.
        reconnect_timeout=1.0,
        max_lifetime=1200.0,
        open=False,
    )


async def ask(pool: Pool, question: Callable[[AsyncConnection[TupleRow]], Awaitable[T]]) -> T:
    """Ask something that may be asked twice: a connection that broke while idle fails nobody.

    Raises psycopg.OperationalError when the database is away.
    """
    try:
        async with pool.connection() as connection:
            return await question(connection)
    except (psycopg.errors.QueryCanceled, PoolTimeout, TooManyRequests):
        raise
    except psycopg.OperationalError:
        # The others that were idle broke as well; they go, and new ones come.
        await pool.drain()
    async with pool.connection() as connection:
        return await question(connection)
