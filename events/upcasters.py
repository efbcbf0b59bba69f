"""Old payloads, brought step by step to the newest schema version. Stored bytes never change."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

Upcaster = Callable[[dict[str, msgspec.Raw]], dict[str, msgspec.Raw]]
"""A pure function from the members of a payload to those of the next version."""


class Upcasters:
    """The newest schema version of each event type, and a step from every version before it."""

    def __init__(
        self, newest: Mapping[str, int], steps: Mapping[tuple[str, int], Upcaster]
    ) -> None:
        """Raises ValueError when a step is missing or leads nowhere."""
        needed = {
            (event_type, version)
            for event_type, last in newest.items()
            for version in range(1, last)
        }
        for event_type, version in sorted(needed ^ steps.keys()):
            raise ValueError(
                f"{event_type} needs an upcaster from version {version} to {version + 1}."
                if (event_type, version) in needed
                else f"The upcaster from version {version} of {event_type} leads to no version "
                "that is known."
            )
        self.newest: Final = newest
        self._steps = steps

    def upcast(self, event_type: str, schema_version: int, payload: bytes) -> bytes:
        """The payload in the newest schema version of its type."""
        newest = self.newest[event_type]
        if schema_version == newest:
            return payload
        members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        for version in range(schema_version, newest):
            members = self._steps[event_type, version](members)
        return msgspec.json.encode(members)


NEWEST_VERSION: Final[Mapping[str, int]] = {
    "CustomerCreated": 1,
    "CustomerUpdated": 1,
    "CustomerDeleted": 1,
    "CustomerRestored": 1,
    "CustomerErased": 1,
}

UPCASTERS: Final = Upcasters(NEWEST_VERSION, {})
"""Steps by event type and the schema version that they start from."""
