"""A place in the log, as a subscriber keeps it between two runs."""

from typing import Final, Self

from msgspec import Struct

from events.chain import GENESIS
from events.envelope import Position


class Place(Struct, frozen=True, kw_only=True):
    """The last event that a subscriber has done, and what recognises it later.

    Stored as a whole (`msgspec.json.encode`) it proves at the next start that the log still is the
    one that was read. A position alone is enough to begin at, and proves nothing.
    """

    position: Position = Position(0)
    chain: bytes = b""
    """The chain there, or its first bytes; empty when it is not known."""
    workspace_sequence: int | None = None
    """The workspace's own count up to here, for a subscriber of one workspace."""
    generation: int = 1
    """The lineage of the log in which the event was read."""

    @classmethod
    def before(cls, start_sequence: int, workspace_sequence: int) -> Self:
        """The place right before a message: that of a hand-over of the feed.

        `workspace_sequence` is the `sequence` of the last event read there, 0 when there was none.
        """
        return cls(position=Position(start_sequence - 1), workspace_sequence=workspace_sequence)


class Now(Struct, frozen=True):
    """The end of the stream, wherever it is when somebody begins to read."""


BEGINNING: Final = Place(chain=GENESIS, workspace_sequence=0)
"""Before the first event ever."""

NOW: Final = Now()
