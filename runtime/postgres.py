"""Connections to Postgres: every process becomes its own role, never the owner of the tables."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Final, LiteralString, TypeAlias, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from runtime.settings import Settings

T = TypeVar("T")
Pool: TypeAlias = AsyncConnectionPool[AsyncConnection[TupleRow]]

POOL_SECONDS: Final = 2.0
STATEMENT_SECONDS: Final = 30
ANSWER_SECONDS: Final = STATEMENT_SECONDS + 5.0
"""Longer than the server lets a statement run: whoever is silent for so long has gone."""

log = structlog.get_logger()

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
    settings: Settings, role: Role | None, name: str, *, statement_timeout: int = STATEMENT_SECONDS
) -> AsyncConnection[TupleRow]:
    """One autocommit connection in the given role, or with the rights of the URL itself.

    Raises psycopg.OperationalError.
    """
    return await AsyncConnection.connect(
        _conninfo(settings, role, name, statement_timeout),
        autocommit=True,
        prepare_threshold=_prepare_threshold(settings),
    )


def connect_blocking(settings: Settings, role: Role, name: str) -> Connection[TupleRow]:
    """One blocking autocommit connection in the given role; no statement of it is too long."""
    return Connection.connect(_conninfo(settings, role, name, 0), autocommit=True)


def connect_as_owner(settings: Settings, name: str) -> Connection[TupleRow]:
    """One blocking connection with the rights of the URL itself: migrations and keys need them."""
    return Connection.connect(_conninfo(settings, None, name, 0), autocommit=True)


def make_pool(settings: Settings, role: Role, name: str, *, size: int) -> Pool:
    """A closed pool of autocommit connections in the role; open it inside the running loop."""
    return AsyncConnectionPool(
        _conninfo(settings, role, name, STATEMENT_SECONDS),
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


async def ask(
    pool: Pool,
    question: Callable[[AsyncConnection[TupleRow]], Awaitable[T]],
    *,
    seconds: float = ANSWER_SECONDS,
) -> T:
    """Ask something that may be asked twice: a connection that broke while idle fails nobody.

    One that is silent for so many seconds is broken too. Raises psycopg.OperationalError when the
    database is away.
    """
    try:
        return await _ask_once(pool, question, seconds)
    except (psycopg.errors.QueryCanceled, PoolTimeout, TooManyRequests):
        raise
    except psycopg.OperationalError:
        # The others that were idle broke as well; they go, and new ones come.
        await pool.drain()
    return await _ask_once(pool, question, seconds)


async def fetch_all(
    pool: Pool, query: LiteralString | bytes, parameters: Sequence[object], *, seconds: float
) -> list[TupleRow]:
    """Every row of a question, in binary; as `ask`."""

    async def fetch(connection: AsyncConnection[TupleRow]) -> list[TupleRow]:
        cursor = connection.cursor(binary=True)
        await cursor.execute(query, parameters)
        return await cursor.fetchall()

    return await ask(pool, fetch, seconds=seconds)


async def _ask_once(
    pool: Pool, question: Callable[[AsyncConnection[TupleRow]], Awaitable[T]], seconds: float
) -> T:
    async with pool.connection() as connection:
        hanging_up = asyncio.get_running_loop().call_later(seconds, _hang_up, connection, seconds)
        try:
            return await question(connection)
        finally:
            hanging_up.cancel()


def _hang_up(connection: AsyncConnection[TupleRow], seconds: float) -> None:
    """Break a connection as the network would, so that whoever waits for its answer is told."""
    log.warning("postgres.silent", seconds=seconds)
    with (
        suppress(OSError, psycopg.OperationalError),
        # A second handle of it: the first is closed by the driver, which still waits.
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)
