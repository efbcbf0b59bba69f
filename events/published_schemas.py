"""The published JSON Schemas of the events' data: one file per type and version, kept for ever."""

from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from events.cloudevents import schema_url
from events.upcasters import NEWEST_VERSION
from runtime.readable import Json, readable_json

CONTENT_TYPE: Final = "application/schema+json"
PUBLISHED: Final = tuple(
    (event_type, version)
    for event_type, newest in NEWEST_VERSION.items()
    for version in range(1, newest + 1)
)
"""Type and version of each."""
_FOLDER: Final = Path(__file__).parent / "schemas"


@cache
def read_schema(event_type: str, version: int) -> Json:
    """The schema of an event's data, as it is kept: without an address of its own."""
    file = _FOLDER / f"{event_type}.v{version}.json"
    return msgspec.json.decode(file.read_bytes(), type=Json)


def served_schemas(public_url: str) -> dict[str, bytes]:
    """What is answered at `/schemas/<type>/<version>`, by that end of the path."""
    return {
        f"{event_type}/{version}": _served(event_type, version, public_url)
        for event_type, version in PUBLISHED
    }


def served_index(public_url: str) -> bytes:
    """What is answered at `/schemas`: all there are."""
    schemas = [
        {"type": event_type, "version": version, "url": schema_url(public_url, event_type, version)}
        for event_type, version in PUBLISHED
    ]
    return readable_json({"schemas": schemas})


def _served(event_type: str, version: int, public_url: str) -> bytes:
    schema = read_schema(event_type, version)
    # `$id` is what `dataschema` says, so that a program that has the schema knows it is the one.
    address = {"$id": schema_url(public_url, event_type, version)}
    return readable_json({"$schema": schema["$schema"], **address, **schema})
