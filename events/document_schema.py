"""The JSON Schema of a customer's document, for those who describe what answers carry."""

from datetime import UTC, datetime
from typing import Final, cast
from uuid import UUID

import msgspec
from msgspec import Raw

from events.customer import Channel, CustomerData
from events.document import CustomerDocument, render_document
from events.envelope import CustomerId, StreamVersion

EXAMPLE_TIME: Final = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
EXAMPLE_DATA: Final = CustomerData(
    email="jane@example.com",
    phone="+15550001234",
    first_name="Jane",
    last_name="Doe",
    company_name="Acme Corp",
    external_id="cust-001",
    tags=("vip",),
    custom_fields={"account_type": Raw(b'"premium"')},
    communication_preferences={"sms": True, "email": True, "voice": False},
)
"""The customer whom the published reference creates."""

_MEANING: Final[dict[str, dict[str, object]]] = {
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


def customer_schema() -> dict[str, object]:
    """The schema of the document; every member is always there."""
    _, schemas = msgspec.json.schema_components([CustomerDocument])
    schema = cast(dict[str, object], schemas[CustomerDocument.__name__])
    properties = cast(dict[str, dict[str, object]], schema["properties"])
    for name, meaning in _MEANING.items():
        properties[name] |= meaning
    properties["communication_preferences"]["propertyNames"] = {"enum": list(Channel.__args__)}
    del schema["title"]
    return schema


def example_customer(customer_id: str) -> dict[str, object]:
    """The document of the customer whom the published reference creates."""
    document = render_document(
        CustomerId(UUID(customer_id)),
        StreamVersion(1),
        EXAMPLE_DATA,
        created_at=EXAMPLE_TIME,
        updated_at=EXAMPLE_TIME,
    )
    return msgspec.json.decode(document)
