"""What others do on the same database: transactions held open, dumps, an append that lasts."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import psycopg
from psycopg import AsyncConnection

from runtime.embedded import binaries
from runtime.tasks import end
from tests.faults.faults import Fault, register
from tests.faults.system import System
from tests.support.signals import lapse

# The event that would come next; whoever holds the lock alone may write it.
_APPEND: Final = """
INSERT INTO log.events
SELECT log_id, position + 1, workspace_id,
       (SELECT max(workspace_sequence) + 1 FROM log.events w WHERE w.workspace_id = e.workspace_id),
       gen_random_uuid(), 1, gen_random_uuid(), gen_random_uuid(), 'CustomerCreated', 1,
       gen_random_uuid(), '\\x00', metadata, recorded_at, digest, chain
  FROM log.events e WHERE log_id = {log_id} ORDER BY position DESC LIMIT 1
"""
_APPENDING: Final = """
SELECT pid FROM pg_stat_activity
 WHERE application_name = 'customers api append' AND state = 'active' AND wait_event_type IS NULL
"""


@asynccontextmanager
async def _somebody(system: System, *statements: str) -> AsyncGenerator[None]:
    """A session of somebody else that does this in a transaction, and takes it back in the end.

    What befalls the server meanwhile ends it.
    """
    async with AsyncExitStack() as stack:
        with suppress(psycopg.OperationalError):
            connection = await AsyncConnection.connect(system.settings.database_url)
            stack.push_async_callback(connection.close)
            for statement in statements:
                await connection.execute(statement.encode())
        yield


@asynccontextmanager
async def _append_taken_back(system: System) -> AsyncGenerator[None]:
    """Somebody has begun an append, holds the log's lock, and takes it back in the end."""
    log_id = system.settings.log_id
    lock = f"SELECT pg_advisory_xact_lock(730541, {log_id})"
    async with _somebody(system, lock, _APPEND.format(log_id=log_id)):
        yield


@asynccontextmanager
async def _append_that_lasts(system: System) -> AsyncGenerator[None]:
    """An append of the API stands still on the server in the middle, and goes on in the end."""
    pid = await asyncio.to_thread(_stop_an_append, system)
    try:
        yield
    finally:
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _stop_an_append(system: System) -> int | None:
    """The server process that was in the middle of one; None when none was found."""
    with psycopg.connect(system.settings.database_url, autocommit=True) as owner:
        for _ in range(2000):
            row = owner.execute(_APPENDING).fetchone()
            if row is not None:
                os.kill(row[0], signal.SIGSTOP)
                return int(row[0])
    return None


@asynccontextmanager
async def _idle_in_transaction(system: System) -> AsyncGenerator[None]:
    """Somebody has read everything in a transaction, and left it open."""
    snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    read = "SELECT count(*) FROM log.events, projections.checkpoints"
    async with _somebody(system, snapshot, read):
        yield


@asynccontextmanager
async def _dumped(system: System) -> AsyncGenerator[None]:
    """pg_dump runs again and again, beside a transaction that is left open."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_idle_in_transaction(system))
        dumping = asyncio.create_task(_dump_again_and_again(system))
        stack.push_async_callback(end, dumping)
        yield


async def _dump_again_and_again(system: System) -> None:
    program = binaries.find_postgres("") / "pg_dump"
    while True:
        # What another fault does to the server ends the dump, and it is begun again.
        dump = await asyncio.create_subprocess_exec(
            program,
            f"--dbname={system.settings.database_url}",
            "--format=custom",
            f"--file={system.folder / 'dump'}",
            stderr=subprocess.DEVNULL,
        )
        try:
            await dump.wait()
        finally:
            with suppress(ProcessLookupError):
                dump.kill()
        await lapse(0.2)


register(
    Fault(
        name="append-taken-back",
        about="A session holds an append open while others wait, and takes it back in the end",
        inject=_append_taken_back,
        owns=("postgres",),
        longest=14.0,
    ),
    Fault(
        name="append-that-lasts",
        about="An append of the API stands still on the server, and commits in the end",
        inject=_append_that_lasts,
        owns=("postgres",),
        longest=14.0,
    ),
    Fault(
        name="idle-in-transaction",
        about="A transaction that has read everything is left open",
        inject=_idle_in_transaction,
        longest=20.0,
    ),
    Fault(
        name="pg-dump",
        about="pg_dump runs over and over, beside a transaction that is left open",
        inject=_dumped,
        longest=20.0,
    ),
)
