"""Proofs that others verify with nothing of ours: of one event, and of one head after another.

A proof is JSON. Hashes are in hex, bytes in base64; `event` has every column that its digest is
over, the payload encrypted as it is stored. `path` is the audit path of RFC 6962, or its proof of
consistency.
"""

import base64
from typing import Final

from msgspec import Struct, field
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.chain import event_digest
from events.envelope import Position, StoredEvent
from events.errors import CorruptEvent, PositionBeyondEnd
from events.heads import SignedHead
from events.log import LogReader
from events.merkle import (
    Span,
    consistency_proof,
    inclusion_proof,
    is_consistent,
    is_included,
    leaf_hash,
)
from events.subtrees import Subtrees
from runtime.clock import format_time

FORMAT: Final = "customers proof 1"


class EventColumns(Struct, frozen=True, kw_only=True):
    """One row of the log."""

    log_id: int
    position: int
    workspace_id: str
    workspace_sequence: int
    stream_id: str
    stream_version: int
    event_id: str
    command_id: str
    type: str
    schema_version: int
    data_key_id: str | None
    payload: str
    metadata: str
    recorded_at: str
    digest: str
    chain: str


class InclusionProof(Struct, frozen=True, kw_only=True):
    """That an event is in the tree of a size; `head` signs its root."""

    format: str = field(default=FORMAT)
    event: EventColumns
    tree_size: int
    root: str
    path: list[str]
    head: SignedHead | None


class ConsistencyProof(Struct, frozen=True, kw_only=True):
    """That the tree of one size is the beginning of another; the heads sign their roots."""

    format: str = field(default=FORMAT)
    old_size: int
    old_root: str
    tree_size: int
    root: str
    path: list[str]
    old_head: SignedHead | None
    head: SignedHead | None


class Prover:
    """Makes proofs from a log, each of which it has verified itself."""

    def __init__(self, connection: AsyncConnection[TupleRow], log_id: int) -> None:
        self._reader = LogReader(connection, log_id)
        self._subtrees = Subtrees(connection, log_id)

    async def end(self) -> Position:
        """How large the tree is now."""
        return (await self._reader.head()).position

    async def prove_event(
        self, position: Position, size: int, head: SignedHead | None
    ) -> InclusionProof:
        """That the event is in the tree of this size, which is that of the head.

        Raises PositionBeyondEnd, CorruptEvent.
        """
        stored = await self._read(position, size)
        if event_digest(stored) != stored.digest:
            raise CorruptEvent(f"Event {position} was changed: its columns do not give its digest.")
        root = await self._root(size, head)
        path = await self._subtrees.roots(inclusion_proof(position - 1, size))
        if not is_included(leaf_hash(stored.digest), position - 1, size, path, root):
            raise _stale_roots()
        return InclusionProof(
            event=_columns(stored),
            tree_size=size,
            root=root.hex(),
            path=[node.hex() for node in path],
            head=head,
        )

    async def prove_consistency(
        self, old: int, size: int, old_head: SignedHead | None, head: SignedHead | None
    ) -> ConsistencyProof:
        """That the tree of size `old` is the beginning of the one of `size`.

        Raises PositionBeyondEnd, CorruptEvent.
        """
        await self._read(Position(size), size)
        root = await self._root(size, head)
        old_root = await self._root(old, old_head)
        path = await self._subtrees.roots(consistency_proof(old, size))
        if not is_consistent(old, size, old_root, root, path):
            raise _stale_roots()
        return ConsistencyProof(
            old_size=old,
            old_root=old_root.hex(),
            tree_size=size,
            root=root.hex(),
            path=[node.hex() for node in path],
            old_head=old_head,
            head=head,
        )

    async def _read(self, position: Position, size: int) -> StoredEvent:
        end = await self.end()
        keyed = await self._reader.read_at(position)
        if size > end or keyed is None:
            raise PositionBeyondEnd(max(size, position), end)
        return keyed.stored

    async def _root(self, size: int, head: SignedHead | None) -> bytes:
        await self._subtrees.fill(size)
        root = await self._subtrees.root(Span(0, size))
        if head is not None and head.root != root.hex():
            raise CorruptEvent(
                f"The log has another Merkle root than {head.words}: its history was rewritten, or "
                "forked before that."
            )
        return root


def _columns(event: StoredEvent) -> EventColumns:
    return EventColumns(
        log_id=event.log_id,
        position=event.position,
        workspace_id=event.workspace_id,
        workspace_sequence=event.workspace_sequence,
        stream_id=str(event.stream_id),
        stream_version=event.stream_version,
        event_id=str(event.event_id),
        command_id=str(event.command_id),
        type=event.type,
        schema_version=event.schema_version,
        data_key_id=None if event.data_key_id is None else str(event.data_key_id),
        payload=base64.b64encode(event.payload).decode(),
        metadata=base64.b64encode(event.metadata).decode(),
        recorded_at=format_time(event.recorded_at),
        digest=event.digest.hex(),
        chain=event.chain.hex(),
    )


def _stale_roots() -> CorruptEvent:
    return CorruptEvent(
        "The kept roots of the Merkle tree are not those of the log: log.subtrees was changed. Its "
        "owner empties it by TRUNCATE, and it is filled again."
    )
