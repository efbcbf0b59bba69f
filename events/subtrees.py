"""The roots of the Merkle tree of a log in Postgres, quick at any size.

The roots of complete trees of 256 events, of 65,536 and so on, are kept in a table. Whatever it
lacks is computed from the digests, so it may be emptied at any time; what it holds is not proof of
anything, and verification never reads it.
"""

from typing import Final, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.errors import CorruptEvent
from events.merkle import Span, complete_spans, fold, join, leaf_hash

BITS: Final = 8
"""Each level of kept roots is that many levels of the tree above the one below."""

_BLOCK: Final = 1 << BITS
_BLOCKS_AT_ONCE: Final = 16

# Some digests in order; all of them, or fewer when the log lacks one.
_DIGESTS: Final[LiteralString] = """
SELECT digest FROM log.events
 WHERE log_id = %b::int4 AND position > %b::int8 AND position <= %b::int8 ORDER BY position
"""
_KEPT: Final[LiteralString] = """
SELECT root FROM log.subtrees
 WHERE log_id = %b::int4 AND level = %b::int4 AND number >= %b::int8 AND number < %b::int8
 ORDER BY number
"""
_NEXT: Final[LiteralString] = """
SELECT coalesce((SELECT number + 1 FROM log.subtrees WHERE log_id = %b::int4 AND level = %b::int4
                  ORDER BY number DESC LIMIT 1), 0)
"""
_KEEP: Final[LiteralString] = "SELECT log.keep_subtrees(%b::int4, %b::int4, %b::int8, %b::bytea[])"


class Subtrees:
    """The Merkle tree of one log."""

    def __init__(self, connection: AsyncConnection[TupleRow], log_id: int) -> None:
        self._connection = connection
        self._log_id = log_id

    async def root(self, span: Span) -> bytes:
        """The root over some leaves: of the whole tree, or of a part that stands in a proof."""
        return join([await self._complete(part) for part in complete_spans(span)])

    async def roots(self, spans: list[Span]) -> list[bytes]:
        """The root over each of these."""
        return [await self.root(span) for span in spans]

    async def fill(self, size: int) -> None:
        """Keep every root that the first `size` events give, where it is not kept yet."""
        level = 1
        while size >> (BITS * level):
            await self._fill_level(level, size >> (BITS * level))
            level += 1

    async def _fill_level(self, level: int, end: int) -> None:
        cursor = await self._connection.execute(_NEXT, [self._log_id, level])
        row = await cursor.fetchone()
        number: int = row[0] if row else 0
        while number < end:
            count = min(_BLOCKS_AT_ONCE, end - number)
            below = await self._hashes(level - 1, number << BITS, count << BITS)
            roots = [fold(below[at : at + _BLOCK]) for at in range(0, len(below), _BLOCK)]
            await self._connection.execute(_KEEP, [self._log_id, level, number, roots])
            number += count

    async def _complete(self, span: Span) -> bytes:
        """The root over a power of two of leaves."""
        height = (span.end - span.first).bit_length() - 1
        level, rest = divmod(height, BITS)
        return fold(await self._hashes(level, span.first >> (BITS * level), 1 << rest))

    async def _hashes(self, level: int, first: int, count: int) -> list[bytes]:
        """Neighbours of one level, from one on; level 0 are the leaves."""
        if level == 0:
            cursor = await self._connection.execute(_DIGESTS, [self._log_id, first, first + count])
            leaves = [leaf_hash(bytes(digest)) for (digest,) in await cursor.fetchall()]
            if len(leaves) != count:
                raise CorruptEvent(
                    f"Not all of the events {first + 1} to {first + count} are in the log: "
                    "`customers verify` names the first that is not."
                )
            return leaves
        asked = [self._log_id, level, first, first + count]
        rows = await (await self._connection.execute(_KEPT, asked)).fetchall()
        if len(rows) == count:
            return [bytes(root) for (root,) in rows]
        return [
            fold(await self._hashes(level - 1, number << BITS, _BLOCK))
            for number in range(first, first + count)
        ]
