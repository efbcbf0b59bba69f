"""The consistency token: where a write ended, which a read that sends it must have seen."""

from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from events.envelope import Position, WorkspaceId
from runtime.sealing import Sealer

CHAIN_BYTES: Final = 8
_PURPOSE: Final = "token"
# Log, generation, position, chain: as long for every place, so that the length tells nothing of it.
_LAYOUT: Final = Layout(">IIQ8s")


class Token(Struct, frozen=True, kw_only=True):
    """A place in the log, with the first bytes of the chain there: a lost history is recognised."""

    position: Position
    chain: bytes
    """The first eight bytes of the chain at `position`."""


class Tokens:
    """Writes and reads the tokens of one log; sealed, for a position tells the volume of all."""

    def __init__(self, sealer: Sealer, log_id: int) -> None:
        self._sealer = sealer
        self._log_id = log_id

    def issue(
        self, workspace_id: WorkspaceId, *, generation: int, position: Position, chain: bytes
    ) -> str:
        """The token of a place in this log; `chain` may be longer than what is kept of it."""
        content = _LAYOUT.pack(self._log_id, generation, position, chain[:CHAIN_BYTES])
        return self._sealer.seal(_PURPOSE, workspace_id, content)

    def read(self, workspace_id: WorkspaceId, text: str) -> Token | None:
        """The place a token names; None for a text that is no token of this log and workspace."""
        content = self._sealer.open(_PURPOSE, workspace_id, text)
        if content is None:
            return None
        log_id, _, position, chain = _LAYOUT.unpack(content)
        if log_id != self._log_id:
            return None
        return Token(position=Position(position), chain=chain)
