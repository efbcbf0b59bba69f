"""The customer and the events that examples tell of, wherever something is described."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from events import codec
from events.chain import GENESIS, event_digest, next_chain
from events.cloudevents import render_cloud_event
from events.customer import (
    EVENT_TYPES,
    CustomerCreated,
    CustomerData,
    CustomerDeleted,
    CustomerErased,
    CustomerEvent,
    CustomerRestored,
    CustomerUpdated,
    PreviousData,
)
from events.document import render_document
from events.envelope import CustomerId, Position, StoredEvent, StreamVersion, WorkspaceId
from events.upcasters import NEWEST_VERSION
from runtime.readable import Json

_TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_CUSTOMER: Final = CustomerId(UUID("01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"))
_TIME: Final = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
_DATA: Final = CustomerData(
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
_RENAMED: Final = replace(_DATA, last_name="Roe", tags=("vip", "gold"))
EXAMPLES: Final[dict[type[CustomerEvent], CustomerEvent]] = {
    CustomerCreated: CustomerCreated(
        customer=_DATA,
        changed_fields=CustomerData.__struct_fields__,
        request_id="01939c2e-8f00-7b3a-9d52-3f1c6f0f8a11",
    ),
    CustomerUpdated: CustomerUpdated(
        customer=_RENAMED,
        changed_fields=("last_name", "tags"),
        previous=PreviousData(last_name=_DATA.last_name, tags=_DATA.tags),
        actor="clerk-7",
        reason="married",
        request_id="ticket-99",
    ),
    CustomerDeleted: CustomerDeleted(customer=_RENAMED, actor="clerk-7", reason="moved away"),
    CustomerRestored: CustomerRestored(customer=_RENAMED, actor="clerk-7", reason="came back"),
    CustomerErased: CustomerErased(positions=(42, 57, 58, 61)),
}
"""What happened to one customer, in this order."""
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


def example_customer(customer_id: str) -> Json:
    """The document of the customer whom the published reference creates."""
    document = render_document(
        CustomerId(UUID(customer_id)),
        StreamVersion(1),
        _DATA,
        created_at=_TIME,
        updated_at=_TIME,
    )
    return msgspec.json.decode(document)


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
        recorded_at=_TIME + timedelta(hours=position),
        digest=b"",
        chain=b"",
    )
    digest = event_digest(stored)
    stored = replace(stored, digest=digest, chain=next_chain(GENESIS, digest))
    data = codec.encode(EXAMPLES[EVENT_TYPES[event_type]])
    return ExampleEvent(
        stored=stored,
        body=render_cloud_event(stored, data, public_url),
        tombstone=render_cloud_event(stored, None, public_url),
    )
