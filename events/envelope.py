"""An event around its payload: before it is appended, as it is stored, and as it is read back."""

from datetime import datetime
from typing import NewType
from uuid import UUID

from msgspec import Struct

from events.customer import CustomerEvent

Position = NewType("Position", int)
"""Place in the log, from 1, without gaps."""

StreamVersion = NewType("StreamVersion", int)
"""Number of an event among those of one customer, from 1."""

WorkspaceId = NewType("WorkspaceId", str)
"""A data space: `acme` for live data, `acme_test` for its sandbox."""

CustomerId = NewType("CustomerId", UUID)
"""A customer, and the stream of its events."""


class Metadata(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an event came to be; stored in clear for ever, so nothing a client words stands here.

    The request's id, the actor and the reason are in the encrypted payload.
    """

    api_key_id: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


class NewEvent(Struct, frozen=True, kw_only=True):
    """An event ready to be appended: its payload is encrypted already."""

    event_id: UUID
    stream_id: CustomerId
    stream_version: StreamVersion
    type: str
    schema_version: int
    data_key_id: UUID | None
    payload: bytes
    metadata: bytes


class StoredEvent(Struct, frozen=True, kw_only=True):
    """One row of the log, byte for byte."""

    log_id: int
    position: Position
    workspace_id: WorkspaceId
    workspace_sequence: int
    stream_id: CustomerId
    stream_version: StreamVersion
    event_id: UUID
    command_id: UUID
    type: str
    schema_version: int
    data_key_id: UUID | None
    payload: bytes
    metadata: bytes
    recorded_at: datetime
    digest: bytes
    chain: bytes


class RecordedEvent(Struct, frozen=True, kw_only=True):
    """An event as its readers get it: decrypted, with its place in the log."""

    position: Position
    workspace_id: WorkspaceId
    workspace_sequence: int
    stream_id: CustomerId
    stream_version: StreamVersion
    event_id: UUID
    type: str
    schema_version: int
    recorded_at: datetime
    digest: bytes
    chain: bytes
    event: CustomerEvent | None
    """None when the customer was erased since: the payload is unreadable for ever."""
    traceparent: str | None = None
    """W3C Trace Context of the request that made the event, if it had one."""
