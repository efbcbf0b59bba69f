"""The consistency token: where a write ended, which a read that sends it must have seen."""

from typing import Final

import msgspec
from msgspec import Struct

from events.envelope import Position, WorkspaceId
from runtime.sealing import Sealer

CHAIN_BYTES: Final = 8
_PURPOSE: Final = "token"


class Token(Struct, frozen=True, kw_only=True, array_like=True):
    """A place in the log, with the first bytes of the chain there: a lost history is recognised."""

    log_id: int
    generation: int
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
        token = Token(
            log_id=self._log_id,
            generation=generation,
            position=position,
            chain=chain[:CHAIN_BYTES],
        )
        return self._sealer.seal(_PURPOSE, workspace_id, msgspec.msgpack.encode(token))

    def read(self, workspace_id: WorkspaceId, text: str) -> Token | None:
        """The place a token names; None for a text that is no token of this log and workspace."""
        content = self._sealer.open(_PURPOSE, workspace_id, text)
        if content is None:
            return None
        token = msgspec.msgpack.decode(content, type=Token)
        return token if token.log_id == self._log_id else None
