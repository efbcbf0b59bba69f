"""The public form of a customer: the one JSON document that every answer carries."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from events.customer import Channel, CustomerData
from events.envelope import CustomerId, StreamVersion
from runtime.clock import format_time

_encoder: Final = msgspec.json.Encoder()


class CustomerDocument(Struct, frozen=True, kw_only=True):
    """The members of a customer in their published order; absent values are null."""

    id: UUID
    email: str | None
    phone: str | None
    first_name: str | None
    last_name: str | None
    company_name: str | None
    external_id: str | None
    tags: tuple[str, ...]
    custom_fields: dict[str, Raw]
    communication_preferences: dict[Channel, bool]
    created_at: str
    updated_at: str
    version: int


def render_document(
    customer_id: CustomerId,
    version: StreamVersion,
    data: CustomerData,
    *,
    created_at: datetime,
    updated_at: datetime,
) -> bytes:
    """The finished document as JSON; the command side and the read model give the same bytes."""
    return _encoder.encode(
        CustomerDocument(
            id=customer_id,
            email=data.email,
            phone=data.phone,
            first_name=data.first_name,
            last_name=data.last_name,
            company_name=data.company_name,
            external_id=data.external_id,
            tags=data.tags,
            custom_fields=data.custom_fields,
            communication_preferences=data.communication_preferences,
            created_at=format_time(created_at),
            updated_at=format_time(updated_at),
            version=version,
        )
    )
