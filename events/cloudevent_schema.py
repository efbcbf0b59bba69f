"""What a CloudEvent of ours looks like, for those who describe where it can be had."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from events import codec
from events.chain import GENESIS, event_digest, next_chain
from events.cloudevents import SEQUENCE_DIGITS, CloudEvent, render_cloud_event
from events.customer import EVENT_TYPES
from events.document_schema import EXAMPLE_TIME
from events.envelope import CustomerId, Position, StoredEvent, StreamVersion, WorkspaceId
from events.event_schema import EXAMPLES, Json
from events.upcasters import NEWEST_VERSION

TRACEPARENT_PATTERN: Final = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
_TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_CUSTOMER: Final = CustomerId(UUID("01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"))
_MEMBERS: Final[dict[str, Json]] = {
    "specversion": {"type": "string", "const": "1.0"},
    "id": {
        "type": "string",
        "format": "uuid",
        "description": "Of the event (UUIDv7): the same wherever and however often it is read.",
    },
    "source": {
        "type": "string",
        "pattern": "^/customers/[1-9][0-9]*$",
        "description": "The log that holds the event: `/customers/<log>`.",
    },
    "type": {
        "type": "string",
        "examples": list(EVENT_TYPES),
        "description": "What happened. There may be further types one day: ignore those that you "
        "do not know, but count them in `sequence`.",
    },
    "subject": {
        "type": "string",
        "format": "uuid",
        "description": "The id of the customer.",
    },
    "time": {
        "type": "string",
        "format": "date-time",
        "description": "When it was recorded: UTC, microseconds. Never goes back along `sequence`; "
        "two events may have the same.",
    },
    "datacontenttype": {"type": "string", "const": "application/json"},
    "dataschema": {
        "type": "string",
        "format": "uri",
        "pattern": "/schemas/[A-Za-z]+/[1-9][0-9]*$",
        "description": "Where the JSON Schema of `data` is: `/schemas/<type>/<version>`.",
    },
    "sequence": {
        "type": "string",
        "pattern": f"^[0-9]{{{SEQUENCE_DIGITS}}}$",
        "description": "Counts the events of the workspace, from 1 and without gaps; padded with "
        "zeros, so that it sorts as text.",
    },
    "streamversion": {
        "type": "integer",
        "minimum": 1,
        "maximum": 2**31 - 1,
        "description": "Counts the events of this customer, from 1 and without gaps; the "
        "customer's `version` in the API.",
    },
    "workspace": {
        "type": "string",
        "pattern": "^[a-z0-9-]{1,48}(_test)?$",
        "description": "The data space: `acme`, or `acme_test` for its sandbox.",
    },
    "traceparent": {
        "type": "string",
        "pattern": TRACEPARENT_PATTERN,
        "description": "W3C Trace Context of the request that made the change; only when it had "
        "one.",
    },
    "data": {
        "type": ["object", "null"],
        "description": "The event, as `dataschema` says. Null when the customer was erased since: "
        "nobody can read it any more.",
    },
}
_PLACES: Final = {
    "CustomerCreated": (42, 17, 1),
    "CustomerUpdated": (57, 18, 2),
    "CustomerDeleted": (58, 20, 3),
    "CustomerRestored": (61, 21, 4),
    "CustomerErased": (70, 25, 5),
}
"""Position, sequence and version of the example of each type."""


class ExampleEvent(Struct, frozen=True, kw_only=True):
    """An event as its subscribers get it."""

    stored: StoredEvent
    body: bytes
    tombstone: bytes
    """The same event after its customer was erased."""


def cloud_event_schema(**members: Json) -> Json:
    """The JSON Schema of an event's CloudEvent; `members` say more than is true of all types."""
    fields = [field.name for field in msgspec.structs.fields(CloudEvent)]
    return {
        "type": "object",
        "properties": {name: _MEMBERS[name] | members.get(name, {}) for name in fields},
        "required": [
            field.encode_name
            for field in msgspec.structs.fields(CloudEvent)
            if field.default is not msgspec.UNSET
        ],
    }


def example_event(event_type: str, public_url: str) -> ExampleEvent:
    """An event of this type; those of all types tell of one customer."""
    position, sequence, version = _PLACES[event_type]
    metadata = b"{}"
    if event_type == "CustomerUpdated":
        metadata = msgspec.json.encode({"traceparent": _TRACEPARENT})
    stored = StoredEvent(
        log_id=1,
        position=Position(position),
        workspace_id=WorkspaceId("acme"),
        workspace_sequence=sequence,
        stream_id=_CUSTOMER,
        stream_version=StreamVersion(version),
        event_id=UUID(int=_CUSTOMER.int + version),
        command_id=UUID(int=_CUSTOMER.int - version),
        type=event_type,
        schema_version=NEWEST_VERSION[event_type],
        data_key_id=None,
        payload=b"",
        metadata=metadata,
        recorded_at=EXAMPLE_TIME + timedelta(hours=position),
        digest=b"",
        chain=b"",
    )
    digest = event_digest(stored)
    stored = msgspec.structs.replace(stored, digest=digest, chain=next_chain(GENESIS, digest))
    data = codec.encode(EXAMPLES[EVENT_TYPES[event_type]])
    return ExampleEvent(
        stored=stored,
        body=render_cloud_event(stored, data, public_url),
        tombstone=render_cloud_event(stored, b"null", public_url),
    )
