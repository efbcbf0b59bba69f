"""What makes a rewrite of history visible: a digest of every event, and a chain over the digests.

A digest is SHA-256 over these columns in this order, each preceded by its length in four bytes
(signed, big-endian; a NULL is length -1 and nothing): log_id, position, workspace_id,
workspace_sequence, stream_id, stream_version, event_id, command_id, type, schema_version,
data_key_id, SHA-256(payload), SHA-256(metadata), recorded_at. Integers are eight bytes, signed,
big-endian; text is UTF-8; a UUID is its sixteen bytes; a time is microseconds since
2000-01-01T00:00:00Z as an integer. The chain at a position is SHA-256(chain before || digest);
before the first event it is SHA-256 of nothing. `log.event_digest` computes the same in Postgres.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from events.envelope import StoredEvent

HASH_BYTES: Final = 32
"""How long a digest and a chain are."""

GENESIS: Final = hashlib.sha256(b"").digest()
"""The chain before the first event."""

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)


def event_digest(event: StoredEvent) -> bytes:
    """The digest an event must have."""
    columns: tuple[bytes | None, ...] = (
        _integer(event.log_id),
        _integer(event.position),
        event.workspace_id.encode(),
        _integer(event.workspace_sequence),
        event.stream_id.bytes,
        _integer(event.stream_version),
        event.event_id.bytes,
        event.command_id.bytes,
        event.type.encode(),
        _integer(event.schema_version),
        _optional_uuid(event.data_key_id),
        hashlib.sha256(event.payload).digest(),
        hashlib.sha256(event.metadata).digest(),
        _integer((event.recorded_at - _EPOCH) // timedelta(microseconds=1)),
    )
    return hashlib.sha256(b"".join(map(_prefixed, columns))).digest()


def next_chain(chain: bytes, digest: bytes) -> bytes:
    """The chain after one more event."""
    return hashlib.sha256(chain + digest).digest()


def first_bad_position(events: Iterable[StoredEvent], chain: bytes = GENESIS) -> int | None:
    """The first position whose digest or chain is not what its columns say, or None."""
    for event in events:
        chain = next_chain(chain, event_digest(event))
        if event.digest != event_digest(event) or event.chain != chain:
            return event.position
    return None


def _prefixed(column: bytes | None) -> bytes:
    if column is None:
        return (-1).to_bytes(4, "big", signed=True)
    return len(column).to_bytes(4, "big", signed=True) + column


def _integer(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def _optional_uuid(value: UUID | None) -> bytes | None:
    return None if value is None else value.bytes
