"""Cursors of the event feed: a place among a workspace's events, good for ever.

Under no key, so that none can be lost: a cursor holds nothing but the workspace's own count and
what tells one history from another. Its check binds it to the workspace, so that a slip is noticed;
whoever makes one up gets no further than with any other, and only into the own workspace.
"""

import base64
import binascii
import hashlib
from struct import Struct as Layout
from typing import Final

from events.envelope import WorkspaceId
from events.feed import FEED_BEGINNING, FeedPlace
from events.token import CHAIN_BYTES

_VERSION: Final = 1
_CHECK_BYTES: Final = 6
# Version, log, sequence, chain: with the check 27 bytes, which base64 writes without padding.
_LAYOUT: Final = Layout(f">BIq{CHAIN_BYTES}s")
_CHARACTERS: Final = (_LAYOUT.size + _CHECK_BYTES) * 4 // 3
"""How long every cursor is."""


class FeedCursors:
    """Writes and reads the cursors of one log."""

    def __init__(self, log_id: int) -> None:
        self._log_id = log_id

    def write(self, workspace_id: WorkspaceId, place: FeedPlace) -> str:
        """The cursor of a place: always the same text."""
        content = _LAYOUT.pack(_VERSION, self._log_id, place.sequence, place.chain)
        return base64.urlsafe_b64encode(content + _check(workspace_id, content)).decode("ascii")

    def read(self, workspace_id: WorkspaceId, text: str) -> FeedPlace | None:
        """The place of a cursor; None for a text that is none of this log and workspace."""
        if len(text) != _CHARACTERS:
            return None
        try:
            read = base64.b64decode(text, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            return None
        content, check = read[: _LAYOUT.size], read[_LAYOUT.size :]
        if check != _check(workspace_id, content):
            return None
        version, log_id, sequence, chain = _LAYOUT.unpack(content)
        if (version, log_id) != (_VERSION, self._log_id) or sequence < 0:
            return None
        place = FeedPlace(sequence=sequence, chain=chain)
        # Before the first event all histories are one: nobody would find another chain wrong there.
        return None if sequence == 0 and place != FEED_BEGINNING else place


def _check(workspace_id: WorkspaceId, content: bytes) -> bytes:
    bound = f"customers/1/feed/{workspace_id}\n".encode() + content
    return hashlib.sha256(bound).digest()[:_CHECK_BYTES]
