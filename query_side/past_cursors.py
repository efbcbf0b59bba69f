"""Where a list of customers as they were goes on: the same list, whatever was written since."""

import hashlib
from datetime import datetime
from typing import Self

from msgspec import Struct

from events.feed import FeedPlace
from query_side.cursors import Cursor


class PlaceInPast(Struct, frozen=True, kw_only=True):
    """A place in a list as it was."""

    moment: FeedPlace
    """What the workspace's events had come to at the moment of the list."""
    before: int
    """Goes on with the customers created before this event of the workspace."""

    @classmethod
    def of_cursor(cls, cursor: Cursor) -> Self:
        """The place of a cursor that has the fingerprint of such a list."""
        sequence, chain, before = (part or "" for part in cursor.place)
        moment = FeedPlace(sequence=int(sequence), chain=bytes.fromhex(chain))
        return cls(moment=moment, before=int(before))

    def cursor(self, as_of: datetime) -> Cursor:
        """The cursor of the place in the list of a moment."""
        place = (str(self.moment.sequence), self.moment.chain.hex(), str(self.before))
        return Cursor(past_fingerprint(as_of), place)


def past_fingerprint(as_of: datetime) -> bytes:
    """The same for every part of the list as it was at a moment."""
    return hashlib.sha256(f"as_of {as_of.isoformat()}".encode()).digest()[:16]
