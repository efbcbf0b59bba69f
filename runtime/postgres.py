"""Connections to Postgres: every process becomes its own role, never the owner of the tables.

A server with a synchronous standby shows nothing that the standby lacks, with two exceptions: what
a crashed server finds in its own log when it starts again, and what somebody stopped waiting for.
Before such a thing is acknowledged or published, `await_copies` waits for the standby.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Final, LiteralString, TypeAlias, TypeVar
from weakref import WeakSet, ref

import psycopg
import structlog
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from runtime.pooler import insist, insist_blocking
from runtime.primary import (
    NotPrimary,
    forget_primary,
    hang_up,
    note_connection,
    primary_of,
)
from runtime.settings import Settings

T = TypeVar("T")
Pool: TypeAlias = AsyncConnectionPool[AsyncConnection[TupleRow]]

POOL_SECONDS: Final = 2.0
STATEMENT_SECONDS: Final = 30
ANSWER_SECONDS: Final = STATEMENT_SECONDS + 5.0
"""Longer than the server lets a statement run: whoever is silent for so long has gone."""

COPY_SECONDS: Final = 5.0
"""So long a standby that is waited for may be silent."""

# A commit of something, however small, is not answered before the standby has everything up to it.
# Without a standby that is waited for, what can be seen is as safe as it gets.
_AWAIT_COPIES: Final[LiteralString] = """
SELECT pg_logical_emit_message(true, 'customers', '')
 WHERE current_setting('synchronous_standby_names') <> ''
"""
# In which function of the server somebody stopped the wait of a commit, which then counts.
_COPY_WAIT: Final = "SyncRepWaitForLSN"

_copied: Final[WeakSet[AsyncConnection[TupleRow]]] = WeakSet()
_alone: Final[WeakSet[AsyncConnection[TupleRow]]] = WeakSet()

log = structlog.get_logger()

# A peer that is gone is noticed within seconds; a connect to nowhere never hangs a worker.
_LIVELINESS = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # With the time of a connect, less than the ten seconds that a client waits for a write.
    "tcp_user_timeout": 5_000,
}


class NotCopied(psycopg.OperationalError):
    """Something was committed, and may be on the server alone that committed it."""


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
        _of_a_primary(settings.database_url),
        options=" ".join(filter(None, options)),
        application_name=name,
        **_LIVELINESS,
    )


def _of_a_primary(url: str) -> str:
    """The URL; of several hosts the one that takes writes, unless it says otherwise."""
    given = conninfo_to_dict(url)
    if "," in str(given.get("host", "")) and "target_session_attrs" not in given:
        return make_conninfo(url, target_session_attrs="read-write")
    return url


def _is_pooled(settings: Settings) -> bool:
    """Whether a pooler in transaction mode may stand between us and the server."""
    return not settings.prepared_statements


def _prepare_threshold(settings: Settings) -> int | None:
    return 0 if settings.prepared_statements else None


async def connect(
    settings: Settings, role: Role | None, name: str, *, statement_timeout: int = STATEMENT_SECONDS
) -> AsyncConnection[TupleRow]:
    """One autocommit connection in the given role, or with the rights of the URL itself.

    Raises psycopg.OperationalError.
    """
    connection = await AsyncConnection.connect(
        await primary_of(_conninfo(settings, role, name, statement_timeout)),
        autocommit=True,
        prepare_threshold=_prepare_threshold(settings),
    )
    _heed(connection)
    if role is not None and _is_pooled(settings):
        try:
            await insist(connection, role)
        except BaseException:
            await connection.close()
            raise
    return connection


async def connect_copied(settings: Settings, role: Role, name: str) -> AsyncConnection[TupleRow]:
    """As `connect`, to a server whose standby has all that is to be seen by now.

    Raises psycopg.OperationalError also when the standby is silent.
    """
    connection = await connect(settings, role, name)
    try:
        await await_copies(connection)
    except BaseException:
        await connection.close()
        raise
    return connection


async def await_copies(connection: AsyncConnection[TupleRow]) -> bool:
    """Return when a standby that commits wait for has all that this connection can see.

    At once when there is none; whether there is one. Raises psycopg.OperationalError when it is
    silent.
    """
    loop = asyncio.get_running_loop()
    hanging_up = loop.call_later(COPY_SECONDS, _hang_up, connection, COPY_SECONDS)
    try:
        cursor = await connection.execute(_AWAIT_COPIES)
        _raise_if_alone(connection)
    finally:
        hanging_up.cancel()
    return cursor.rowcount > 0


def connect_blocking(settings: Settings, role: Role, name: str) -> Connection[TupleRow]:
    """One blocking autocommit connection in the given role; no statement of it is too long."""
    connection = _connect_blocking(settings, role, name)
    if _is_pooled(settings):
        insist_blocking(connection, role)
    return connection


def connect_as_owner(settings: Settings, name: str) -> Connection[TupleRow]:
    """One blocking connection with the rights of the URL itself: migrations and keys need them."""
    return _connect_blocking(settings, None, name)


def _connect_blocking(settings: Settings, role: Role | None, name: str) -> Connection[TupleRow]:
    # A migration is several statements at once, which can never be prepared: not from the first on.
    return Connection.connect(
        _conninfo(settings, role, name, 0),
        autocommit=True,
        prepare_threshold=None if _is_pooled(settings) else 5,
    )


def make_pool(settings: Settings, role: Role, name: str, *, size: int) -> Pool:
    """A closed pool of autocommit connections in the role; open it inside the running loop."""

    async def configure(connection: AsyncConnection[TupleRow]) -> None:
        _heed(connection)
        if _is_pooled(settings):
            await insist(connection, role)

    return AsyncConnectionPool(
        partial(primary_of, _conninfo(settings, role, name, STATEMENT_SECONDS)),
        kwargs={"autocommit": True, "prepare_threshold": _prepare_threshold(settings)},
        min_size=min(2, size),
        max_size=size,
        max_waiting=1000,
        timeout=POOL_SECONDS,
        # Short, so that it is the next request that tries again, and not a timer that backs off:
        # the first request after an outage finds the database.
        reconnect_timeout=1.0,
        max_lifetime=1200.0,
        configure=configure,
        open=False,
    )


async def ask(
    pool: Pool,
    question: Callable[[AsyncConnection[TupleRow]], Awaitable[T]],
    *,
    seconds: float = ANSWER_SECONDS,
) -> T:
    """Ask something that may be asked twice: a connection that broke while idle fails nobody.

    One that is silent for so many seconds is broken too, and one to a server that takes no writes
    any more leads nowhere. Raises psycopg.OperationalError when the database is away.
    """
    try:
        return await _ask_once(pool, question, seconds)
    except (psycopg.errors.QueryCanceled, PoolTimeout, TooManyRequests):
        raise
    except psycopg.OperationalError:
        # The others that were idle broke as well; they go, and new ones come.
        forget_primary()
        await pool.drain()
    return await _ask_once(pool, question, seconds)


async def fetch_all(
    pool: Pool,
    query: LiteralString | bytes,
    parameters: Sequence[object],
    *,
    seconds: float,
    copied: bool = False,
) -> list[TupleRow]:
    """Every row of a question, in binary; as `ask`. `copied`: none that a standby may lack."""

    async def fetch(connection: AsyncConnection[TupleRow]) -> list[TupleRow]:
        if copied and connection not in _copied:
            # Once: what a server found when it started again was there before the connection was.
            await await_copies(connection)
            if connection.prepare_threshold is not None:
                # Behind a pooler the connection outlives the server.
                _copied.add(connection)
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
            answer = await question(connection)
        except psycopg.errors.ReadOnlySqlTransaction as error:
            # As a pooler gives it that has another server now, which is a standby.
            await connection.close()
            raise NotPrimary("The server takes no writes.") from error
        finally:
            hanging_up.cancel()
        _raise_if_alone(connection)
        return answer


def _heed(connection: AsyncConnection[TupleRow]) -> None:
    """Note when somebody stops the wait of a commit of this connection for the standby."""
    note_connection(connection)
    known = ref(connection)

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        told = known()
        if told is not None and notice.source_function == _COPY_WAIT:
            _alone.add(told)

    connection.add_notice_handler(hear)


def _raise_if_alone(connection: AsyncConnection[TupleRow]) -> None:
    if connection in _alone:
        _alone.discard(connection)
        raise NotCopied("Committed, and perhaps on no standby.")


def _hang_up(connection: AsyncConnection[TupleRow], seconds: float) -> None:
    log.warning("postgres.silent", seconds=seconds)
    hang_up(connection)
