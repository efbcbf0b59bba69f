"""Old payloads, brought step by step to the newest schema version. Stored bytes never change."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

Upcaster = Callable[[dict[str, msgspec.Raw]], dict[str, msgspec.Raw]]

UPCASTERS: Final[Mapping[tuple[str, int], Upcaster]] = {}
"""(event type, schema version) -> a pure function to the payload of the next version."""

NEWEST_VERSION: Final[Mapping[str, int]] = {
    "CustomerCreated": 1,
    "CustomerUpdated": 1,
    "CustomerDeleted": 1,
    "CustomerRestored": 1,
    "CustomerErased": 1,
}


def upcast(event_type: str, schema_version: int, payload: bytes) -> bytes:
    """The payload in the newest schema version of its type."""
    if schema_version == NEWEST_VERSION[event_type]:
        return payload
    members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    for version in range(schema_version, NEWEST_VERSION[event_type]):
        members = UPCASTERS[event_type, version](members)
    return msgspec.json.encode(members)
