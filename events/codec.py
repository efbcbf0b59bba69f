"""Stored bytes <-> event Structs, by event type and schema version."""

from typing import Final

import msgspec

from events.customer import EVENT_TYPES, CustomerEvent
from events.errors import UnknownEvent
from events.upcasters import UPCASTERS

_encoder: Final = msgspec.json.Encoder()
_decoders: Final[dict[str, msgspec.json.Decoder[CustomerEvent]]] = {
    name: msgspec.json.Decoder(event_class) for name, event_class in EVENT_TYPES.items()
}
_names: Final = {event_class: name for name, event_class in EVENT_TYPES.items()}


def type_of(event: CustomerEvent) -> str:
    """The stored name of an event's type."""
    return _names[type(event)]


def encode(event: CustomerEvent) -> bytes:
    """An event as the JSON that is encrypted, stored and published."""
    return _encoder.encode(event)


def decode(event_type: str, schema_version: int, payload: bytes) -> CustomerEvent:
    """The event in its newest form; raises UnknownEvent when this build is too old for it."""
    if not 1 <= schema_version <= UPCASTERS.newest.get(event_type, 0):
        raise UnknownEvent(event_type, schema_version)
    return _decoders[event_type].decode(UPCASTERS.upcast(event_type, schema_version, payload))
