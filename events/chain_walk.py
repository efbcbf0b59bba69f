"""Recomputes the digests, the chain and the Merkle tree of a log from its rows, in one pass.

Binary COPY frames a column as a digest does: its length in four bytes, then its bytes. With the
columns cast and ordered alike, all but payload and metadata of what is hashed is one slice of the
row as it comes over the wire. Nothing the database computes is believed.
"""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from struct import Struct as Layout
from struct import error as layout_error
from typing import Final, LiteralString, TypeAlias

from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow

from events.heads import SignedHead
from events.merkle import Frontier

COLUMNS: Final[LiteralString] = """
    digest, chain, recorded_at, position, workspace_sequence,
    log_id::int8, position, workspace_id, workspace_sequence, stream_id, stream_version::int8,
    event_id, command_id, type, schema_version::int8, data_key_id, payload, metadata
"""
"""First what is compared, at places that are always the same; then what is hashed, in order."""

# By index, also where a sort looks cheaper: it would write the whole log to disk once more.
_SETTINGS: Final[LiteralString] = (
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off"
)
_COPY: Final[LiteralString] = f"""
COPY (SELECT {COLUMNS} FROM log.events
       WHERE log_id = %s AND position >= %s AND position <= %s ORDER BY position)
  TO STDOUT (FORMAT BINARY)
"""  # noqa: S608 - a literal

_HEADER_BYTES: Final = 19
_TRAILER: Final = b"\xff\xff"
_NUMBER: Final = 4 + 8
_UUID: Final = 4 + 16
_NULL: Final = 4
# Digest, chain, recorded_at, position, workspace_sequence, each behind its length.
_FRONT: Final = Layout(">2x 4x32s 4x32s 4xq 4xq 4xq")
_TIME: Final = 2 + 2 * (4 + 32)
_TIME_END: Final = _TIME + _NUMBER
_HASHED: Final = _FRONT.size
_WORKSPACE: Final = _HASHED + 2 * _NUMBER
# workspace_sequence, stream_id, stream_version, event_id, command_id
_BETWEEN: Final = 2 * _NUMBER + 3 * _UUID
_LENGTH: Final = Layout(">i")
_HASH_LENGTH: Final = _LENGTH.pack(32)
_TELL_EACH: Final = 4096

Buffer: TypeAlias = bytes | bytearray | memoryview


class Start(Struct, frozen=True, kw_only=True):
    """What stands before the first position of a walk."""

    position: int
    chain: bytes
    recorded_at: int
    """Microseconds since 2000."""


class Fault(Struct, frozen=True, kw_only=True, order=True):
    """Something wrong at a position, in words."""

    position: int
    what: str


class ChainWalk:
    """A pass over the rows behind a start; afterwards, what it found and where it ended.

    It ends at the first row that is wrong. What a signed head contradicts does not end it.
    """

    def __init__(self, start: Start, heads: Sequence[SignedHead]) -> None:
        self._heads = sorted(heads, key=lambda head: head.position, reverse=True)
        self._is_whole = start.position == 0
        self._recorded_at = start.recorded_at
        self._sequences: dict[bytes, int] = {}
        self._agreed_at = start.position
        self.position = start.position
        self.chain = start.chain
        self.tree = Frontier()
        self.faults: list[Fault] = []
        self.agreed: list[SignedHead] = []
        self.contradicted: list[SignedHead] = []
        self.first_sequences: dict[bytes, tuple[int, int]] = {}
        """By workspace, its sequence where it was seen first, and the position of that."""

    def run(self, rows: Iterable[Buffer], tell: Callable[[int], None]) -> None:
        """Go over the rows; `tell` is given a position from time to time."""
        self._meet_heads()
        for row in _without_frame(rows):
            try:
                fault = self._take(row)
            except (layout_error, IndexError):
                fault = "is not a row as the log has them: a column has an impossible length"
            if fault:
                self.faults.append(Fault(position=self.position + 1, what=fault))
                return
            if self._heads and self._heads[-1].position == self.position:
                self._meet_heads()
            if not self.position % _TELL_EACH:
                tell(self.position)

    def _take(self, row: bytes) -> str:
        """Go on to a row; what is wrong with it, if anything."""
        sha256 = hashlib.sha256
        digest, chain, recorded_at, position, sequence = _FRONT.unpack_from(row)
        # Four columns vary in length: the workspace, the type, the data key or NULL, the payload.
        start = _WORKSPACE + 4
        at = start + _LENGTH.unpack_from(row, _WORKSPACE)[0]
        workspace = row[start:at]
        at += _BETWEEN
        at += 4 + _LENGTH.unpack_from(row, at)[0] + _NUMBER
        at += _NULL if row[at] else _UUID
        metadata = at + 4 + _LENGTH.unpack_from(row, at)[0]
        computed = sha256(
            row[_HASHED:at]
            + _HASH_LENGTH
            + sha256(row[at + 4 : metadata]).digest()
            + _HASH_LENGTH
            + sha256(row[metadata + 4 :]).digest()
            + row[_TIME:_TIME_END]
        ).digest()
        expected = sha256(self.chain + computed).digest()
        due = self._sequences.get(workspace, -1) + 1
        if not due:
            due = sequence
            self.first_sequences[workspace] = (sequence, position)
        if (
            position != self.position + 1
            or computed != digest
            or expected != chain
            or sequence != due
            or recorded_at < self._recorded_at
        ):
            return _words(
                {
                    f"is missing: the next event is {position}": position > self.position + 1,
                    f"is a second event {position}": position <= self.position,
                    "its columns do not give its digest: one of them was changed": (
                        computed != digest
                    ),
                    "its chain does not follow from the one before": expected != chain,
                    f"its workspace_sequence is {sequence} where {due} is due": sequence != due,
                    "it was recorded before the event in front of it": (
                        recorded_at < self._recorded_at
                    ),
                }
            )
        self.position, self.chain, self._recorded_at = position, chain, recorded_at
        self._sequences[workspace] = sequence
        self.tree.add(sha256(b"\x00" + computed).digest())
        return ""

    def _meet_heads(self) -> None:
        """Compare the heads of this position, and pass over those before it."""
        while self._heads and self._heads[-1].position <= self.position:
            head = self._heads.pop()
            if head.position < self.position:
                continue
            has_root = not self._is_whole or head.root == self.tree.root().hex()
            if head.chain == self.chain.hex() and has_root:
                self.agreed.append(head)
                self._agreed_at = self.position
                continue
            if not self.contradicted:
                self.faults.append(Fault(position=self.position, what=self._rewritten(head)))
            self.contradicted.append(head)

    def _rewritten(self, head: SignedHead) -> str:
        if head.chain == self.chain.hex():
            return f"{head.words} has another Merkle root, though the same chain"
        where = (
            f"at {self.position}"
            if self._agreed_at + 1 >= self.position
            else f"somewhere from {self._agreed_at + 1} to {self.position}"
        )
        return f"{head.words} has another chain: the log was rewritten {where}"


def copy_rows(
    connection: Connection[TupleRow], log_id: int, first: int, end: int
) -> Generator[Buffer]:
    """The rows of these positions, as binary COPY sends them; a transaction is needed."""
    connection.execute(_SETTINGS)
    with connection.cursor().copy(_COPY, [log_id, first, end]) as copy:
        yield from copy


def _without_frame(rows: Iterable[Buffer]) -> Iterator[bytes]:
    """The rows alone; the server sends each in a message of its own, the first behind a header."""
    header = _HEADER_BYTES
    for row in rows:
        whole = bytes(row)[header:]
        header = 0
        if len(whole) > len(_TRAILER):
            yield whole


def _words(reasons: Mapping[str, bool]) -> str:
    """Those that hold. Of a row at the wrong place, nothing else is worth saying."""
    held = [reason for reason, holds in reasons.items() if holds]
    return held[0] if held[0].startswith("is ") else "; ".join(held)
