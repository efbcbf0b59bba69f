"""CloudEvents of ours, judged by the SDK and by the schemas that are served."""

import json
from typing import Any

import httpx
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from jsonschema import Draft202012Validator, FormatChecker


def read_by_sdk(body: bytes) -> CloudEvent:
    """The event as the SDK reads it; raises what it finds wrong."""
    event = JSONFormat().read(CloudEvent, body)
    assert isinstance(event, CloudEvent)
    return event


async def broken_rules(api: httpx.AsyncClient, body: bytes) -> list[str]:
    """Where an event's data is not as the schema that it names says."""
    # Not by msgspec: it refuses numbers that JSON allows.
    event: dict[str, Any] = json.loads(body)
    answer = await api.get(httpx.URL(event["dataschema"]).path)
    assert answer.status_code == 200, event["dataschema"]
    schema = answer.json()
    assert schema["$id"] == event["dataschema"]
    return [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(
            event["data"]
        )
    ]
