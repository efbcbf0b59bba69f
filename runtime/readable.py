"""JSON that people read: one member to a line."""

from typing import TypeAlias

import msgspec

Json: TypeAlias = dict[str, object]
"""A JSON object."""


def readable_json(value: object) -> bytes:
    """Indented, and with an end of line."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
