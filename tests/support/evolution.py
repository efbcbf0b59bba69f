"""The files that are written once for each event type and version, and what is missing of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

import events

_GOLDEN: Final = Path(__file__).parent.parent / "golden"
GOLDEN_EVENTS: Final = _GOLDEN / "events"
GOLDEN_SCHEMAS: Final = _GOLDEN / "schemas"
SERVED_SCHEMAS: Final = Path(events.__file__ or "").parent / "schemas"


def golden_event(event_type: str, version: int) -> bytes:
    """The payload of an event as this version was first stored."""
    return (GOLDEN_EVENTS / f"{event_type}.v{version}.json").read_bytes()


def published_schema(event_type: str, version: int) -> Any:
    """The schema as it was first published."""
    return msgspec.json.decode((GOLDEN_SCHEMAS / f"{event_type}.v{version}.json").read_bytes())


def missing_files(newest: Mapping[str, int]) -> list[str]:
    """What is still to be added for these newest versions, one sentence each."""
    needed = {
        GOLDEN_EVENTS: "a payload as it is stored, written by hand once and never edited",
        SERVED_SCHEMAS: "the schema to serve; `python -m events.data_schema TYPE` prints it",
        GOLDEN_SCHEMAS: "a copy of that, which is never edited",
    }
    return [
        f"{folder.relative_to(_GOLDEN.parent.parent)}/{event_type}.v{version}.json: {what}"
        for event_type, last in newest.items()
        for version in range(1, last + 1)
        for folder, what in needed.items()
        if not (folder / f"{event_type}.v{version}.json").exists()
    ]
