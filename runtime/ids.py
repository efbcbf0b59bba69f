"""New identifiers: UUIDv7, in order of making within a process."""

from uuid import UUID

from uuid_utils import compat


def new_id() -> UUID:
    """A new UUIDv7 (RFC 9562)."""
    return compat.uuid7()
