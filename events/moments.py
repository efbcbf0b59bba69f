"""A moment as a place in the log: times never go back along the positions."""

from datetime import datetime
from typing import Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import Position
from events.log import LogReader

_RECORDED_AT: Final[LiteralString] = """
SELECT recorded_at FROM log.events WHERE log_id = %b::int4 AND position = %b::int8
"""


async def last_until(
    connection: AsyncConnection[TupleRow], log_id: int, moment: datetime
) -> Position:
    """The position of the last event that was recorded until then; 0 before the first one."""
    low, high = 0, (await LogReader(connection, log_id).head()).position
    while low < high:
        middle = (low + high + 1) // 2
        cursor = await connection.execute(_RECORDED_AT, [log_id, middle])
        row = await cursor.fetchone()
        if row is None or row[0] > moment:
            high = middle - 1
        else:
            low = middle
    return Position(low)
