"""Cursors: where a list goes on, sealed, for it holds names and what was searched for."""

from typing import Final

import msgspec
from msgspec import Struct

from events.envelope import WorkspaceId
from runtime.sealing import Sealer

_PURPOSE: Final = "cursor"


class Cursor(Struct, frozen=True, array_like=True):
    """The place of a page's last customer in one list."""

    fingerprint: bytes
    """Of the list: its filters, its search and its order."""
    place: tuple[str | None, ...]


class Cursors:
    """Writes and reads cursors; one is good for its own workspace only."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def write(self, workspace_id: WorkspaceId, cursor: Cursor) -> str:
        """The text of a cursor."""
        return self._sealer.seal(_PURPOSE, workspace_id, msgspec.msgpack.encode(cursor))

    def read(self, workspace_id: WorkspaceId, text: str) -> Cursor | None:
        """The cursor of a text; None when it is not one of this workspace."""
        content = self._sealer.open(_PURPOSE, workspace_id, text)
        try:
            return None if content is None else msgspec.msgpack.decode(content, type=Cursor)
        except msgspec.DecodeError:
            return None  # of another version of ours
