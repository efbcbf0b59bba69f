"""What a CloudEvent of ours looks like, for those who describe where it can be had."""

from typing import Final

import msgspec

from events.cloudevents import SEQUENCE_DIGITS, CloudEvent
from events.customer import EVENT_TYPES
from runtime.readable import Json

TRACEPARENT_SCHEMA: Final[Json] = {
    "type": "string",
    "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
    "description": "W3C Trace Context of the request that made the change; only when it had one.",
}
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
    "traceparent": TRACEPARENT_SCHEMA,
    "data": {
        "type": ["object", "null"],
        "description": "The event, as `dataschema` says. Null when the customer was erased since: "
        "nobody can read it any more.",
    },
}


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
