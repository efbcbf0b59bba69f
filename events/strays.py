"""Finds rows beside the log that change what it says: whoever reads the events of a customer finds
them by the customer, wherever they stand, and whoever reads the read model heeds the erasures.
"""

from typing import Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.chain_walk import Fault

# No walk begins before position 1.
_BEFORE: Final[LiteralString] = """
SELECT position FROM log.events WHERE log_id = %(log_id)s AND position < 1
 ORDER BY position LIMIT 1
"""
# The first event whose customer has events in another log. Mostly there is no other log, which two
# looks into an index tell.
_ELSEWHERE: Final[LiteralString] = """
SELECT e.position, o.log_id, o.position
  FROM log.events o JOIN log.events e ON e.stream_id = o.stream_id
 WHERE (SELECT min(log_id) FROM log.events) < (SELECT max(log_id) FROM log.events)
   AND (o.log_id < %(log_id)s OR o.log_id > %(log_id)s)
   AND e.log_id = %(log_id)s AND e.position BETWEEN %(first)s AND %(end)s
 ORDER BY e.position, o.position LIMIT 1
"""
_READABLE: Final[LiteralString] = """
SELECT e.position FROM log.events e JOIN keyring.data_keys k ON k.stream_id = e.stream_id
 WHERE e.log_id = %(log_id)s AND e.position BETWEEN %(first)s AND %(end)s
   AND e.type = 'CustomerErased'
 ORDER BY e.position LIMIT 1
"""
_UNFOUNDED: Final[LiteralString] = """
SELECT x.position
  FROM log.erasures x
  LEFT JOIN log.events e ON e.log_id = x.log_id AND e.position = x.position
 WHERE x.log_id = %(log_id)s AND x.position BETWEEN %(first)s AND %(end)s
   AND (e.type, e.stream_id) IS DISTINCT FROM ('CustomerErased', x.stream_id)
 ORDER BY x.position LIMIT 1
"""


async def find_strays(
    connection: AsyncConnection[TupleRow], log_id: int, first: int, end: int
) -> list[Fault]:
    """What contradicts the events at these positions, and is none of them; the first of each."""
    asked = {"log_id": log_id, "first": first, "end": end}

    async def ask(query: LiteralString) -> list[TupleRow]:
        return await (await connection.execute(query, asked)).fetchall()

    return [
        *(
            Fault(position=position, what="stands before the beginning of the log")
            for (position,) in await ask(_BEFORE)
        ),
        *(
            Fault(
                position=end,
                what=f"the customer of {position} has an event in log {other} too, at {place}",
            )
            for position, other, place in await ask(_ELSEWHERE)
        ),
        *(
            Fault(position=position, what="its customer was erased, and has a data key again")
            for (position,) in await ask(_READABLE)
        ),
        *(
            Fault(position=position, what="is not the CustomerErased that log.erasures has there")
            for (position,) in await ask(_UNFOUNDED)
        ),
    ]
