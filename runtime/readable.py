"""JSON that people read: one member to a line."""

import msgspec


def readable_json(value: object) -> bytes:
    """Indented, and with an end of line."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
