"""The calls that tell of events, in the API's OpenAPI document."""

from collections.abc import Sequence
from typing import Final

from runtime.readable import Json
from runtime.web.event_docs import unknown_schema
from runtime.web.openapi.kit import (
    Answer,
    Description,
    Operation,
    failure,
    object_schema,
    ref,
)
from runtime.web.openapi.parameters import parameter_refs

_IF_KNOWN: Final = parameter_refs("If-None-Match-Document")
_KEPT: Final = ("Document-ETag", "Cache-Control-A-Day")
_KNOWN: Final = Answer(description="You have it already.", headers=("Document-ETag",))
_SCHEMAS: Final = {
    "EventSchemas": object_schema(
        {"schemas": {"type": "array", "items": ref("EventSchema")}}, required=["schemas"]
    ),
    "EventSchema": object_schema(
        {
            "type": {"type": "string"},
            "version": {"type": "integer", "minimum": 1},
            "url": {"type": "string", "format": "uri"},
        },
        required=["type", "version", "url"],
    ),
}


def describe_event_docs(schemas: Sequence[tuple[str, int]], media_type: str) -> Description:
    """What there is to say of them, when these schemas (type and version) are published."""
    return Description(
        operations={
            "asyncapi": _asyncapi(),
            "schemas": _index(*schemas[0]),
            "schema": _schema(schemas, media_type),
        },
        failures={"unknown_schema": failure(unknown_schema(), "/schemas/Nothing/1")},
        schemas=_SCHEMAS,
    )


def _asyncapi() -> Operation:
    schema = object_schema(
        {"asyncapi": {"type": "string"}},
        required=["asyncapi", "info", "channels", "operations"],
    )
    return Operation(
        tag="Events",
        description="AsyncAPI 3.0: every subject, header and message.",
        parameters=_IF_KNOWN,
        answers={
            200: Answer(description="The document.", schema=schema, headers=("Document-ETag",)),
            304: _KNOWN,
        },
    )


def _index(event_type: str, version: int) -> Operation:
    url = f"https://customers.example.com/schemas/{event_type}/{version}"
    entry: Json = {"type": event_type, "version": version, "url": url}
    return Operation(
        tag="Events",
        description="One for each type and version of an event.",
        parameters=_IF_KNOWN,
        answers={
            200: Answer(
                description="All of them.",
                schema=ref("EventSchemas"),
                examples={"first": {"value": {"schemas": [entry]}}},
                headers=("Document-ETag",),
            ),
            304: _KNOWN,
        },
    )


def _schema(schemas: Sequence[tuple[str, int]], media_type: str) -> Operation:
    members = object_schema(
        {"$id": {"type": "string", "format": "uri"}},
        required=["$schema", "$id", "title", "type", "properties"],
    )
    return Operation(
        tag="Events",
        description="JSON Schema, draft 2020-12. What it says stays true; it may come to describe "
        "further optional members.",
        parameters=(
            _named("event_type", "The type of the event.", [name for name, _ in schemas]),
            _named("version", "The version of the schema.", [str(number) for _, number in schemas]),
            *_IF_KNOWN,
        ),
        answers={
            200: Answer(
                description="The schema.",
                schema=members,
                media_types=(media_type,),
                headers=_KEPT,
            ),
            304: Answer(description="You have it already.", headers=_KEPT),
        },
        failures=("unknown_schema",),
    )


def _named(name: str, description: str, examples: Sequence[str]) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "examples": list(dict.fromkeys(examples))},
    }
