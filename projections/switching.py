"""Which edition is live: bringing one to the end of the log, switching to it, dropping another."""

import asyncio
from collections.abc import Callable
from typing import Final

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from projections.checkpoint import ForeignReadModel, NoEdition, open_checkpoint, schema_of
from projections.editions import LOCK, REGISTER, functions_checksum, tables_checksum
from projections.opening import open_events
from projections.projector import Projector
from projections.rebuild_record import note_stage
from projections.runner import STANDBY_SECONDS
from projections.runners import LOOK_SECONDS
from projections.source import BATCH_MAX

_SETTLE_SECONDS: Final = 3 * LOOK_SECONDS
"""Within this time every projector knows of a new edition, and has left one that is dropped."""
_BREATH_SECONDS: Final = 0.02
# A projector that is at work needs a few milliseconds for what is missing.
_PATIENCE_SECONDS: Final = 0.2
_GLANCE_SECONDS: Final = 0.002
_TAKE_OVER_SECONDS: Final = 2 * STANDBY_SECONDS

# Below the server's deadlock_timeout: it is always the drop that steps back, never a reader.
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '100ms'"

_LIVE: Final = "SELECT edition FROM projections.editions WHERE live FOR UPDATE"
_FLIP: Final = (
    "UPDATE projections.editions SET live = (edition = %(target)s) WHERE edition = %(one)s"
)
_UNLIST: Final = "DELETE FROM projections.editions WHERE edition = %s AND NOT live"
_TO_DROP: Final = """
INSERT INTO projections.rebuilds
       (edition, log_id, purpose, until_position, tables_checksum, indexes)
VALUES (%s, %s, 'drop', 0, '', '{}')
ON CONFLICT (edition) DO UPDATE SET purpose = 'drop'
"""


async def follow(
    connection: AsyncConnection[TupleRow],
    keyring: Keyring,
    edition: int,
    log_id: int,
    *,
    until: Position | None = None,
    tell: Callable[[int, int], None] = lambda _position, _head: None,
) -> Position:
    """Bring an edition to the end of the log as it is now, beside whoever else projects it.

    Or until a position. Answers where it is then, and tells on the way of each position and of the
    last one. Raises ForeignReadModel, KeyUnavailable.
    """
    reader = LogReader(connection, log_id)
    head = (await reader.head()).position if until is None else until
    projector = Projector(connection, await open_checkpoint(connection, edition, log_id))
    while (position := projector.checkpoint.position) < head:
        tell(position, head)
        events = open_events(
            keyring, await reader.read_after(position, min(BATCH_MAX, head - position))
        )
        match await projector.apply(events):
            case "applied":
                pass
            case "moved":
                await projector.reload()
            case "foreign":
                raise ForeignReadModel(edition, position)
    tell(position, head)
    return position


async def register(connection: AsyncConnection[TupleRow], edition: int) -> None:
    """List a complete edition, and wait until every projector knows of it."""
    async with connection.transaction():
        await connection.execute(LOCK)
        values = [edition, tables_checksum(), functions_checksum()]
        await connection.execute(REGISTER, values)
        await note_stage(connection, edition, "switching")
    await asyncio.sleep(_SETTLE_SECONDS)


async def _reach_head(
    connection: AsyncConnection[TupleRow], keyring: Keyring, edition: int, log_id: int
) -> bool:
    """Wait until an edition has come to the end of the log; whether a projector brought it there.

    Without any it is brought there here, and never beside one: that would stand by for a while.
    """
    query = sql.SQL("SELECT position FROM {}.checkpoints WHERE log_id = %s")
    head = (await LogReader(connection, log_id).head()).position
    now = asyncio.get_running_loop().time
    deadline = now() + _PATIENCE_SECONDS
    while True:
        cursor = await connection.execute(query.format(schema_of(edition)), [log_id])
        row = await cursor.fetchone()
        if row is not None and row[0] >= head:
            return True
        if now() > deadline:
            await follow(connection, keyring, edition, log_id)
            return False
        await asyncio.sleep(_GLANCE_SECONDS)


async def switch(
    connection: AsyncConnection[TupleRow],
    follower: AsyncConnection[TupleRow],
    keyring: Keyring,
    target: int,
    log_id: int,
) -> int:
    """Let this edition be read instead of the live one; the number of that.

    While the checkpoint of the live edition is locked, the other comes to the end of the log: no
    read shows less than one before it, and none a person who was erased. Takes milliseconds;
    `follower` is a second connection.
    """
    await _reach_head(follower, keyring, target, log_id)
    async with connection.transaction():
        cursor = await connection.execute(_LIVE)
        row = await cursor.fetchone()
        if row is None:
            raise NoEdition
        live = int(row[0])
        query = sql.SQL("SELECT FROM {}.open_checkpoint(%s)").format(schema_of(live))
        await connection.execute(query, [log_id])
        is_projected = await _reach_head(follower, keyring, target, log_id)
        # In this order: there is never a moment with two.
        for one in (live, target):
            await connection.execute(_FLIP, {"one": one, "target": target})
        await connection.execute("DELETE FROM projections.rebuilds WHERE edition = %s", [target])
    if not is_projected:
        await _keep_up(follower, keyring, target, log_id)
    return live


async def _keep_up(
    connection: AsyncConnection[TupleRow], keyring: Keyring, edition: int, log_id: int
) -> None:
    """Keep an edition up to date until a projector that stood by has taken over."""
    now = asyncio.get_running_loop().time
    deadline = now() + _TAKE_OVER_SECONDS
    while now() < deadline:
        await follow(connection, keyring, edition, log_id)
        await asyncio.sleep(_BREATH_SECONDS)


async def drop_edition(connection: AsyncConnection[TupleRow], edition: int, log_id: int) -> None:
    """Remove an edition that is not live, complete or not; none of its readers is disturbed."""
    async with connection.transaction():
        unlisted = await connection.execute(_UNLIST, [edition])
        await connection.execute(_TO_DROP, [edition, log_id])
    if unlisted.rowcount:
        # Projectors leave it first, and so does who reads on in it since before the switch.
        await asyncio.sleep(_SETTLE_SECONDS)
    while True:
        if await _try_drop(connection, edition):
            return
        await asyncio.sleep(_BREATH_SECONDS)


async def _try_drop(connection: AsyncConnection[TupleRow], edition: int) -> bool:
    try:
        async with connection.transaction():
            await connection.execute(_LOCK_TIMEOUT)
            query = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema_of(edition))
            await connection.execute(query)
            query = "DELETE FROM projections.rebuilds WHERE edition = %s"
            await connection.execute(query, [edition])
    except psycopg.errors.LockNotAvailable:
        return False
    return True
