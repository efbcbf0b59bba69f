"""Every customer of a data space erased, batch by batch: what an operator does when one leaves."""

from collections.abc import Callable
from typing import Final, LiteralString
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import Metadata
from runtime.accesses import Access, record_access
from runtime.ids import new_id
from runtime.postgres import connect
from runtime.settings import Settings

BATCH: Final = 100
"""Customers erased in one transaction: writers of other workspaces wait for it."""

_NAME: Final = "customers workspaces offboard"

# The first events of customers, along the workspace's own index, and whether all is done.
_NEXT: Final[LiteralString] = """
SELECT e.workspace_sequence, e.stream_id, x.forgotten_at IS NOT NULL
  FROM log.events e
  LEFT JOIN LATERAL (SELECT forgotten_at FROM log.erasures
                      WHERE stream_id = e.stream_id LIMIT 1) x ON true
 WHERE e.workspace_id = %b AND e.log_id = %b::int4 AND e.workspace_sequence > %b::int8
   AND e.stream_version = 1
 ORDER BY e.workspace_sequence LIMIT %b::int4
"""
_COUNT: Final[LiteralString] = """
SELECT count(*) FROM log.events e
 WHERE e.workspace_id = %b AND e.log_id = %b::int4 AND e.stream_version = 1
   AND NOT EXISTS (SELECT FROM log.erasures x WHERE x.stream_id = e.stream_id)
"""
_ERASE: Final[LiteralString] = """
SELECT count(*)
  FROM unnest(%b::uuid[], %b::uuid[], %b::uuid[]) AS a (stream_id, event_id, command_id)
 CROSS JOIN LATERAL log.erase(%b, %b::int4, a.stream_id, a.event_id, a.command_id, %b::bytea,
                              NULL, NULL, NULL) x
"""
# In a transaction of its own, behind that of the erasures: nobody who appends waits for it.
_FORGET: Final[LiteralString] = """
SELECT count(projections.forget(%b, a.stream_id)) FROM unnest(%b::uuid[]) AS a (stream_id)
"""


async def count_customers(settings: Settings, data_space: str) -> int:
    """How many customers of a data space are not erased."""
    async with await connect(settings, None, _NAME, statement_timeout=0) as connection:
        cursor = await connection.execute(_COUNT, [data_space, settings.log_id])
        row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def erase_all(
    settings: Settings, data_space: str, report: Callable[[int], None], batch: int = BATCH
) -> int:
    """Erase every customer of a data space; how many this call erased.

    Cut off, the next call goes on with the rest. Needs the owner's rights.
    """
    erased, place = 0, 0
    async with await connect(settings, None, _NAME) as connection:
        await record_access(connection, Access(action="erasure", workspace_id=data_space))
        while True:
            asked = [data_space, settings.log_id, place, batch]
            rows = await (await connection.execute(_NEXT, asked)).fetchall()
            if not rows:
                return erased
            place = int(rows[-1][0])
            todo = [UUID(str(stream_id)) for _, stream_id, is_done in rows if not is_done]
            if todo:
                await _erase(connection, settings.log_id, data_space, todo)
                erased += len(todo)
                report(len(todo))


async def _erase(
    connection: AsyncConnection[TupleRow], log_id: int, data_space: str, customers: list[UUID]
) -> None:
    events = [new_id() for _ in customers]
    commands = [new_id() for _ in customers]
    metadata = msgspec.json.encode(Metadata())
    await connection.execute(_ERASE, [customers, events, commands, data_space, log_id, metadata])
    await connection.execute(_FORGET, [data_space, customers])
