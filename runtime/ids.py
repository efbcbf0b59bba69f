"""New identifiers: UUIDv7, in order of making within a process."""

from uuid import UUID

import msgspec
import uuid_utils


def new_id() -> UUID:
    """A new UUIDv7 (RFC 9562)."""
    # The standard library's UUIDs are what drivers know, and msgspec makes one fastest.
    return msgspec.convert(uuid_utils.uuid7().bytes, UUID)
