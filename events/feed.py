"""The events of one workspace in order, behind a place in its own sequence.

Read from the log itself: they are there as soon as a write has answered, whoever else is away.
"""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

from msgspec import Struct
from psycopg.rows import TupleRow

from events.append import KeyedEvent
from events.chain import GENESIS
from events.envelope import Position, StoredEvent, WorkspaceId
from events.errors import CorruptEvent
from events.log import LOOK_UP_SECONDS, keyed_event
from events.token import CHAIN_BYTES
from runtime.postgres import Pool, fetch_all

# A page of this workspace's events, behind the event of a place.
_READ_FEED: Final[LiteralString] = """
SELECT * FROM log.read_feed(%b, %b::int4, %b::int8, %b::int4, %b::int8)
"""

# The ends of some workspaces.
_READ_ENDS: Final[LiteralString] = "SELECT * FROM log.read_ends(%b::text[], %b::int4)"


class FeedPlace(Struct, frozen=True, kw_only=True):
    """A place among a workspace's events: the number of one, and what tells it from any other."""

    sequence: int
    """0: before the first one."""
    chain: bytes
    """The first eight bytes of the chain there."""


FEED_BEGINNING: Final = FeedPlace(sequence=0, chain=GENESIS[:CHAIN_BYTES])


class FeedPage(Struct, frozen=True, kw_only=True):
    """Events that follow one another without a gap."""

    events: Sequence[KeyedEvent]
    end: FeedPlace
    """The place of the last one; where the page begins, if there is none."""
    has_more: bool
    generation: int
    position: Position
    """The place of `end` in the log of all workspaces; 0 at the beginning."""


class _Row(Struct, frozen=True, kw_only=True):
    generation: int
    has_more: bool
    keyed: KeyedEvent


class FeedLog:
    """The log as the feed has it: one workspace at a time, and only forward."""

    def __init__(self, pool: Pool, log_id: int) -> None:
        self._pool = pool
        self._log_id = log_id

    async def read_page(
        self, workspace_id: WorkspaceId, after: FeedPlace, *, limit: int, size: int
    ) -> FeedPage | None:
        """Events behind a place, at most `limit` and of `size` bytes together, but at least one.

        None when the log does not have that place, or has it with other events before. Raises
        CorruptEvent when it lacks an event between two.
        """
        asked = [workspace_id, self._log_id, after.sequence, limit, size]
        rows = [_row(*columns) for columns in await self._fetch(_READ_FEED, asked)]
        events = [row.keyed for row in rows]
        position = Position(0)
        if after.sequence > 0:
            if not events or feed_place_of(events[0].stored) != after:
                return None
            position = events.pop(0).stored.position
        _check_no_gap(workspace_id, after, events)
        return FeedPage(
            events=events,
            end=feed_place_of(events[-1].stored) if events else after,
            has_more=rows[-1].has_more if rows else False,
            generation=rows[-1].generation if rows else await self._read_generation(workspace_id),
            position=events[-1].stored.position if events else position,
        )

    async def find_ends(self, workspace_ids: Sequence[WorkspaceId]) -> dict[WorkspaceId, FeedPlace]:
        """Where the events of each of these workspaces end."""
        rows = await self._fetch(_READ_ENDS, [list(workspace_ids), self._log_id])
        return {
            workspace_id: FEED_BEGINNING
            if sequence is None
            else FeedPlace(sequence=sequence, chain=bytes(chain))
            for workspace_id, _, sequence, chain in rows
        }

    async def _read_generation(self, workspace_id: WorkspaceId) -> int:
        [(_, generation, _, _)] = await self._fetch(_READ_ENDS, [[workspace_id], self._log_id])
        return generation

    async def _fetch(self, query: LiteralString, parameters: Sequence[object]) -> list[TupleRow]:
        # Whoever follows keeps what is read here: it must not be lost with one server.
        return await fetch_all(self._pool, query, parameters, seconds=LOOK_UP_SECONDS, copied=True)


def feed_place_of(event: StoredEvent) -> FeedPlace:
    """The place of an event in the feed of its workspace."""
    return FeedPlace(sequence=event.workspace_sequence, chain=event.chain[:CHAIN_BYTES])


def _row(generation: int, has_more: bool, *columns: Any) -> _Row:
    return _Row(generation=generation, has_more=has_more, keyed=keyed_event(*columns))


def _check_no_gap(
    workspace_id: WorkspaceId, after: FeedPlace, events: Sequence[KeyedEvent]
) -> None:
    for expected, keyed in enumerate(events, after.sequence + 1):
        found = keyed.stored.workspace_sequence
        if found != expected:
            raise CorruptEvent(
                f"The log has no event {expected} of the workspace {workspace_id}, but one behind "
                f"it, {found}: it was removed by hand. Restore the database from a backup."
            )
