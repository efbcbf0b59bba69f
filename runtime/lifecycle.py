"""A process tells Postgres that it lives and how it does, and ends in order when told to."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import msgspec
import psycopg
import structlog
from msgspec import Struct
from psycopg.rows import TupleRow, args_row

from runtime.ids import new_id
from runtime.tasks import end

BEAT_SECONDS = 2.0
# So soon it is told that trouble began, or is over.
_LOOK_SECONDS = 0.1
# Several beats may be lost to a busy database before a process counts as gone.
SILENT_SECONDS = 10.0
# Conditions of a relay or projector that a person has to hear of.
TROUBLED = ("stopped", "no connection", "damaged", "erasures wait", "not signing")
# Where a process says in its state which master keys it has.
MASTER_KEYS_STATE = "master_keys"

# `pool.connection`, or whatever else lends a connection in the role of the process.
Connecting: TypeAlias = Callable[[], AbstractAsyncContextManager[psycopg.AsyncConnection[TupleRow]]]

_BEAT = "SELECT control.beat(%s, %s, %s, %s, %s::jsonb)"
_LEAVE = "SELECT control.leave(%s)"
_LIST = """
SELECT process_id, kind, pid, host, state, started_at, beat_at,
       beat_at > clock_timestamp() - make_interval(secs => %s)
FROM control.processes ORDER BY kind, started_at
"""

log = structlog.get_logger()


class Process(Struct, frozen=True):
    """What a process last said of itself; `alive` by the clock of the database."""

    process_id: UUID
    kind: str
    pid: int
    host: str
    state: dict[str, object]
    started_at: datetime
    beat_at: datetime
    alive: bool


@asynccontextmanager
async def registered(
    connecting: Connecting,
    kind: str,
    state: Callable[[], Mapping[str, object]],
    *,
    every: float = BEAT_SECONDS,
) -> AsyncGenerator[UUID]:
    """Be on the list of processes while the block runs, with `state()` as JSON at every beat.

    A beat comes at once when its `condition` becomes one that a person has to hear of, or no
    longer is one.
    A database that is away never ends the process: it is on the list again when that is back.
    """
    process_id = new_id()
    beating = asyncio.create_task(_beat_for_ever(connecting, process_id, kind, state, every))
    try:
        yield process_id
    finally:
        await end(beating)
        # Not being able to leave is no fault: after SILENT_SECONDS it is seen to be gone.
        with suppress(psycopg.OperationalError, TimeoutError):
            async with asyncio.timeout(1), connecting() as connection:
                await connection.execute(_LEAVE, [process_id])


def settle() -> None:
    """Have the collector of garbage leave alone what the process has made so far, and come seldom.

    All that stays to the end, and little else hangs together in circles: to look through it again
    and again took a seventh of an API's time, and three tenths of a projector's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@contextmanager
def stop_signals(*more: signal.Signals) -> Generator[asyncio.Event]:
    """An event that is set by SIGTERM, SIGINT or one of `more` while the block runs."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    caught = (signal.SIGTERM, signal.SIGINT, *more)
    for number in caught:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


async def run_until_told(work: Coroutine[object, object, None], *more: signal.Signals) -> bool:
    """Run until SIGTERM, SIGINT or one of `more`; whether the work ended by itself.

    Its error is raised.
    """
    with stop_signals(*more) as stop:
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            has_ended = working.done()
        finally:
            await end(working, stopping)
        with suppress(asyncio.CancelledError):
            await working
    return has_ended


def read_processes(connection: psycopg.Connection[TupleRow]) -> list[Process]:
    """Every process that has been heard of within a day; needs the owner's rights."""
    with connection.cursor(row_factory=args_row(Process)) as cursor:
        return cursor.execute(_LIST, [SILENT_SECONDS]).fetchall()


async def _beat_for_ever(
    connecting: Connecting,
    process_id: UUID,
    kind: str,
    state: Callable[[], Mapping[str, object]],
    every: float,
) -> None:
    pid, host, loop = os.getpid(), socket.gethostname(), asyncio.get_running_loop()
    heard = True
    while True:
        was_troubled = _is_troubled(state())
        try:
            # A commit waits for a standby that may be gone; whoever hears this beat needs none.
            async with asyncio.timeout(SILENT_SECONDS / 2), connecting() as connection:
                text = msgspec.json.encode(state()).decode()
                await connection.execute(_BEAT, [process_id, kind, pid, host, text])
            if not heard:
                log.info("heartbeat.back")
            heard = True
        except (psycopg.Error, TimeoutError) as error:
            if heard:
                log.warning("heartbeat.unheard", error=type(error).__name__)
            heard = False
        next_at = loop.time() + every
        is_early = True
        while is_early:
            await asyncio.sleep(min(_LOOK_SECONDS, every))
            is_early = loop.time() < next_at and _is_troubled(state()) == was_troubled


def _is_troubled(state: Mapping[str, object]) -> bool:
    return state.get("condition") in TROUBLED
