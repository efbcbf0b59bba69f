"""The log as the relay needs it: batches of a bounded size, and what an erasure accounts for."""

from collections.abc import Sequence
from typing import Final, LiteralString

from psycopg.rows import args_row

from events.append import KeyedEvent
from events.envelope import Position
from events.log import SELECT_KEYED, LogReader, keyed_event
from runtime.postgres import await_copies

# No more events than fit into so many bytes, but one at least: the size of a payload is known
# without reading it.
_READ_BATCH: Final[LiteralString] = (
    SELECT_KEYED  # noqa: S608 - literals
    + """
 WHERE e.log_id = %b::int4 AND e.position > %b::int8 AND e.position <= (
        SELECT max(position) FROM (
            SELECT position, sum(size) OVER (ORDER BY position) - size AS before FROM (
                SELECT position, octet_length(payload) AS size FROM log.events
                 WHERE log_id = %b::int4 AND position > %b::int8
                 ORDER BY position LIMIT %b::int4) candidate) summed
         WHERE before < %b::int8)
 ORDER BY e.position LIMIT %b::int4
"""
)

# The first of the positions before one, and the first of some others, that no CustomerErased
# accounts for. Erasures are looked up one by one, and the first search stops at what it finds.
_FIRST_BEFORE: Final[LiteralString] = """
SELECT e.position FROM log.events e
  LEFT JOIN LATERAL (SELECT true AS accounts FROM log.events x
                      WHERE x.stream_id = e.stream_id AND x.type = 'CustomerErased' LIMIT 1
                    ) erasure ON true
 WHERE e.log_id = %b::int4 AND e.position < %b::int8
   AND (e.type = 'CustomerErased' OR erasure.accounts IS NULL)
 ORDER BY e.position LIMIT 1
"""
_FIRST_AMONG: Final[LiteralString] = """
SELECT e.position FROM unnest(%b::int8[]) hole (position)
 CROSS JOIN LATERAL (SELECT position, stream_id, type FROM log.events
                      WHERE log_id = %b::int4 AND position = hole.position LIMIT 1) e
  LEFT JOIN LATERAL (SELECT true AS accounts FROM log.events x
                      WHERE x.stream_id = e.stream_id AND x.type = 'CustomerErased' LIMIT 1
                    ) erasure ON true
 WHERE e.type = 'CustomerErased' OR erasure.accounts IS NULL
 ORDER BY e.position LIMIT 1
"""


class RelayLog(LogReader):
    """The log, read by a relay."""

    async def read_batch(self, position: Position, limit: int, size: int) -> list[KeyedEvent]:
        """Events behind a position, in order, at most `limit`; none that a standby may lack.

        As soon as their payloads have `size` bytes together, no more are read.
        """
        cursor = self._connection.cursor(row_factory=args_row(keyed_event), binary=True)
        after = [self._log_id, position]
        await cursor.execute(_READ_BATCH, [*after, *after, limit, size, limit])
        events = await cursor.fetchall()
        if events:
            # A commit whose wait for the standby somebody stopped is to be seen before it is there.
            await await_copies(self._connection)
        return events

    async def first_unaccounted(self, before: int, positions: Sequence[int]) -> Position | None:
        """The first of these positions, or of all those before one, that no erasure accounts for.

        An erasure accounts for every event of its customer but itself.
        """
        searches: tuple[tuple[LiteralString, list[object]], ...] = (
            (_FIRST_BEFORE, [self._log_id, before]),
            (_FIRST_AMONG, [list(positions), self._log_id]),
        )
        found: list[Position] = []
        for query, parameters in searches:
            cursor = await self._connection.execute(query, parameters)
            found += [Position(position) for (position,) in await cursor.fetchall()]
        return min(found, default=None)
