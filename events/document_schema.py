"""The JSON Schema of a customer's document, for those who describe what answers carry."""

from typing import Final, cast

import msgspec

from events.customer import Channel
from events.document import CustomerDocument
from runtime.readable import Json

_MEANING: Final[dict[str, Json]] = {
    "id": {"description": "Made by the service (UUIDv7); never changes."},
    "email": {"description": "As it was sent; compared without regard to case."},
    "phone": {"description": "In E.164."},
    "external_id": {"description": "Your own id, unique among the live customers of a workspace."},
    "tags": {"description": "In the order they were sent, without duplicates."},
    "custom_fields": {"description": "Each value as it was sent."},
    "communication_preferences": {"description": "Only the channels that were ever set."},
    "created_at": {"format": "date-time", "description": "RFC 3339, UTC, microseconds."},
    "updated_at": {"format": "date-time", "description": "RFC 3339, UTC, microseconds."},
    "version": {"minimum": 1, "description": "Counts the changes; also the ETag."},
}


def customer_schema() -> Json:
    """The schema of the document; every member is always there."""
    _, schemas = msgspec.json.schema_components([CustomerDocument])
    schema = cast(Json, schemas[CustomerDocument.__name__])
    properties = cast(dict[str, Json], schema["properties"])
    for name, meaning in _MEANING.items():
        properties[name] |= meaning
    properties["communication_preferences"]["propertyNames"] = {"enum": list(Channel.__args__)}
    del schema["title"]
    return schema
