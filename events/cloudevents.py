"""The public form of an event: CloudEvents 1.0 JSON, the body of every message."""

from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from events.envelope import Metadata, StoredEvent
from runtime.clock import format_time

CONTENT_TYPE: Final = "application/cloudevents+json"
SEQUENCE_DIGITS: Final = 20
_TRACEPARENT: Final = b'"traceparent"'
_encoder: Final = msgspec.json.Encoder()
_metadata: Final = msgspec.json.Decoder(Metadata)


class CloudEvent(Struct, frozen=True, kw_only=True):
    """The members of the envelope; `data` is the event in the schema version it is stored in."""

    specversion: str = "1.0"
    id: UUID
    source: str
    type: str
    subject: UUID
    time: str
    datacontenttype: str = "application/json"
    dataschema: str
    sequence: str
    """The workspace's own sequence, zero-padded so that it sorts as text."""
    streamversion: int
    workspace: str
    traceparent: str | UnsetType = UNSET
    """W3C Trace Context of the request, as the distributed tracing extension has it."""
    data: Raw


def traceparent_of(event: StoredEvent) -> str | None:
    """The W3C traceparent of the request that made the event, if it had one."""
    return traceparent_in(event.metadata)


def traceparent_in(metadata: bytes) -> str | None:
    """The W3C traceparent that an event is stored with, if its request had one."""
    # Most have none, and to look for its name takes a fifth of decoding.
    return _metadata.decode(metadata).traceparent if _TRACEPARENT in metadata else None


def schema_url(public_url: str, event_type: str, schema_version: int) -> str:
    """Where the JSON Schema of an event's data is served: CloudEvents wants an absolute URI."""
    return f"{public_url.rstrip('/')}/schemas/{event_type}/{schema_version}"


def published(event_type: str, data: bytes | None) -> bytes:
    """The data of an event as everybody gets it; `data` is its payload, None once erased."""
    # What is stored lists positions, and those tell how much all workspaces write together.
    if event_type == "CustomerErased":
        return b"{}"
    return b"null" if data is None else data


def render_cloud_event(event: StoredEvent, data: bytes | None, public_url: str) -> bytes:
    """The message body of a stored event; `data` is its payload in the clear, None once erased.

    The generation is no part of it: the same event published again after a fork is the same event.
    """
    return _encoder.encode(
        CloudEvent(
            id=event.event_id,
            source=f"/customers/{event.log_id}",
            type=event.type,
            subject=event.stream_id,
            time=format_time(event.recorded_at),
            dataschema=schema_url(public_url, event.type, event.schema_version),
            sequence=str(event.workspace_sequence).zfill(SEQUENCE_DIGITS),
            streamversion=event.stream_version,
            workspace=event.workspace_id,
            traceparent=traceparent_of(event) or UNSET,
            data=Raw(published(event.type, data)),
        )
    )
