"""`/asyncapi.json`: what the service publishes, and where, for the programs of its subscribers.

Subjects, headers, members and schemas are those that the relay and the feed use themselves.
"""

from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from events import cloudevents, jetstream
from events.asyncapi_about import ALL_OF_ACME, about
from events.chain import HASH_BYTES
from events.cloudevent_schema import TRACEPARENT_SCHEMA, cloud_event_schema
from events.examples import example_event
from events.published_schemas import PUBLISHED, read_schema
from events.upcasters import NEWEST_VERSION
from runtime.readable import Json

_STREAMED: Final = ("FeedEvent", "LostHistory")
_DELETED_OF_ACME: Final = jetstream.SUBJECT.format(
    log=1, generation=1, workspace="acme", partition="*", action="deleted"
)
_HASH: Final = f"^[0-9a-f]{{{2 * HASH_BYTES}}}$"


class OverHttp(Struct, frozen=True, kw_only=True):
    """How the same events are had over HTTP, by the names that the API uses."""

    pages: str
    """The path of the events page by page."""
    live: str
    """The path of the events as they happen."""
    key_header: str
    last_id_header: str
    lost_event: str
    """The name of the last event of a stream whose history was lost."""
    lost_example: Json
    """What its data is: a problem, with its type and status."""


_PARAMETERS: Final[dict[str, Json]] = {
    "log": {"description": "Which log it is.", "default": "1"},
    "generation": {
        "description": "The lineage of the log. A new one has a stream and subjects of its own.",
        "default": "1",
    },
    "workspace": {
        "description": "Your workspace; `<workspace>_test` is its sandbox.",
        "examples": ["acme", "acme_test"],
        "location": "$message.payload#/workspace",
    },
    "partition": {
        "description": "`00` to `ff`, the last byte of the customer's id: all events of a customer "
        "are in one of them. `*` reads all; several subscribers can share them.",
        "examples": ["21"],
    },
    "action": {
        "description": "What happened, as `type` in the event says in full.",
        "enum": list(jetstream.ACTIONS.values()),
    },
}
_HEADERS: Final[dict[str, Json]] = {
    "Content-Type": {"type": "string", "const": cloudevents.CONTENT_TYPE},
    jetstream.POSITION_HEADER: {
        "type": "string",
        "pattern": "^[1-9][0-9]*$",
        "description": "The event's position in the log: also the sequence of this message.",
    },
    jetstream.DIGEST_HEADER: {
        "type": "string",
        "pattern": _HASH,
        "description": "SHA-256 over the event as it is stored.",
    },
    jetstream.CHAIN_HEADER: {
        "type": "string",
        "pattern": _HASH,
        "description": "SHA-256 over the chain of the event before and this digest: two logs that "
        "have the same here have the same history up to here.",
    },
}


def describe_events(public_url: str, http: OverHttp) -> Json:
    """The AsyncAPI document of a service that is reached at this address."""
    types = list(NEWEST_VERSION)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Customers events",
            "version": version("customers"),
            "description": about(http.pages, http.live),
            "license": {"name": "Apache 2.0"},
            "externalDocs": {
                "description": "The HTTP API",
                "url": f"{public_url.rstrip('/')}/docs",
            },
        },
        "defaultContentType": cloudevents.CONTENT_TYPE,
        "servers": _servers(public_url),
        "channels": _channels(types, http),
        "operations": _operations(types, http),
        "components": {
            "messages": {
                **{event_type: _message(event_type, public_url) for event_type in types},
                "FeedEvent": _feed_message(types, public_url),
                "LostHistory": _lost_message(http),
            },
            "schemas": {
                **{event_type: _cloud_event(event_type) for event_type in types},
                **{f"{name}DataV{number}": _data(name, number) for name, number in PUBLISHED},
            },
            "securitySchemes": {
                "nats": {
                    "type": "userPassword",
                    "description": "A NATS user, or a .creds file, who may read the subjects of "
                    "your workspace. Ask those who run this service.",
                },
                "api_key": {
                    "type": "httpApiKey",
                    "in": "header",
                    "name": http.key_header,
                    "description": "A key of your workspace with the scope `customers:read`.",
                },
            },
        },
    }


def _servers(public_url: str) -> Json:
    url = urlsplit(public_url)
    return {
        "nats": {
            "host": "{address}",
            "protocol": "nats",
            "title": "NATS JetStream",
            "description": f"The stream `{jetstream.STREAM}`: file storage, kept for ever.",
            "variables": {
                "address": {
                    "description": "Ask those who run this service; with TLS it begins `tls://`.",
                    "default": "localhost:4222",
                }
            },
            "security": [{"$ref": "#/components/securitySchemes/nats"}],
        },
        "http": {
            "host": url.netloc,
            "protocol": url.scheme,
            "pathname": f"{url.path.rstrip('/')}/",
            "title": "The HTTP API",
            "description": "The same events for those who only speak HTTP.",
            "security": [{"$ref": "#/components/securitySchemes/api_key"}],
        },
    }


def _channels(types: list[str], http: OverHttp) -> Json:
    return {
        "customers": {
            "address": jetstream.SUBJECT,
            "title": "Customers in NATS JetStream",
            "description": f"The stream `{jetstream.STREAM}`. Nothing but events is on these "
            "subjects. Beside the headers that are described a message has some of NATS' own "
            "(`Nats-Expected-…`, `Nats-Batch-…`), with which the relay published it: ignore them.",
            "servers": [{"$ref": "#/servers/nats"}],
            "parameters": _PARAMETERS,
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in types},
        },
        "stream": {
            "address": http.live,
            "title": "The events of your workspace, as server-sent events",
            "description": "For one workspace: that of the API key.",
            "servers": [{"$ref": "#/servers/http"}],
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _STREAMED},
        },
    }


def _operations(types: list[str], http: OverHttp) -> Json:
    return {
        "publish_events": {
            "action": "send",
            "title": "Events in NATS JetStream",
            "summary": "Every event of the log, in its order, within milliseconds of the write.",
            "description": f"Filter a consumer by subject: `{ALL_OF_ACME}` is everything of a "
            f"workspace, `{_DELETED_OF_ACME}` its deletions. With `ack_policy: none`, "
            "from the sequence that you stored with what you made of it.",
            "channel": {"$ref": "#/channels/customers"},
            "messages": [{"$ref": f"#/channels/customers/messages/{name}"} for name in types],
        },
        "stream_events": {
            "action": "send",
            "title": "Events over HTTP",
            "summary": "Every event of the workspace, from the first one or behind any other, and "
            "then each as it happens.",
            "description": "Server-sent events: `event` is the type, `data` the CloudEvent, `id` a "
            f"cursor. After a break send the last one as `{http.last_id_header}`, and it goes on "
            "behind it. When the history was lost on the way, the last event is "
            f"`{http.lost_event}`. Not from a browser, whose EventSource cannot send "
            f"`{http.key_header}`: use fetch() or a server. The document of the HTTP API says the "
            f"rest, and how to read page by page instead: `GET {http.pages}`.",
            "channel": {"$ref": "#/channels/stream"},
            "messages": [{"$ref": f"#/channels/stream/messages/{name}"} for name in _STREAMED],
            "bindings": {"http": {"method": "GET"}},
        },
    }


def _cloud_event(event_type: str) -> Json:
    versions = [str(number) for name, number in PUBLISHED if name == event_type]
    return cloud_event_schema(
        type={"const": event_type, "examples": [event_type], "description": "What happened."},
        dataschema={"pattern": f"/schemas/{event_type}/({'|'.join(versions)})$"},
        data={
            "type": ["object", "null"],
            "anyOf": [
                *({"$ref": f"#/components/schemas/{event_type}DataV{each}"} for each in versions),
                {
                    "title": "Tombstone",
                    "type": "null",
                    "description": "The customer was erased since: nobody can read it any more.",
                },
            ],
        },
    )


def _data(event_type: str, number: int) -> Json:
    left_out = ("$schema", "examples")
    schema = read_schema(event_type, number)
    return {name: value for name, value in schema.items() if name not in left_out}


def _message(event_type: str, public_url: str) -> Json:
    example = example_event(event_type, public_url)
    headers = jetstream.message_headers(example.stored)
    examples: list[Json] = [
        {"name": "event", "headers": headers, "payload": msgspec.json.decode(example.body)}
    ]
    if event_type != "CustomerErased":
        examples.append(
            {
                "name": "tombstone",
                "summary": "The same event, after the customer was erased.",
                "headers": headers,
                "payload": msgspec.json.decode(example.tombstone),
            }
        )
    return {
        "name": event_type,
        "title": event_type,
        "summary": read_schema(event_type, NEWEST_VERSION[event_type])["description"],
        "contentType": cloudevents.CONTENT_TYPE,
        "headers": {
            "type": "object",
            "properties": _HEADERS | {jetstream.TRACE_HEADER: TRACEPARENT_SCHEMA},
            "required": list(_HEADERS),
        },
        "correlationId": {
            "description": "The request that made the change.",
            "location": f"$message.header#/{jetstream.TRACE_HEADER}",
        },
        "payload": {"$ref": f"#/components/schemas/{event_type}"},
        "examples": examples,
    }


def _feed_message(types: list[str], public_url: str) -> Json:
    return {
        "name": "FeedEvent",
        "title": "Any event",
        "summary": "The same CloudEvents as in JetStream.",
        "contentType": cloudevents.CONTENT_TYPE,
        "payload": {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in types]},
        "examples": [
            {
                "name": name,
                "payload": msgspec.json.decode(example_event(name, public_url).body),
            }
            for name in types
        ],
    }


def _lost_message(http: OverHttp) -> Json:
    example = http.lost_example
    return {
        "name": http.lost_event,
        "title": "The history is lost",
        "summary": "The service was restored to a point before your cursor. Nothing comes after "
        "this; it has no `id`.",
        "contentType": "application/problem+json",
        "payload": {
            "type": "object",
            "description": "What the API answers with this status: a problem of RFC 9457.",
            "properties": {
                "type": {"type": "string", "const": example["type"]},
                "title": {"type": "string"},
                "status": {"type": "integer", "const": example["status"]},
                "detail": {"type": "string", "description": "What to do, for people."},
            },
            "required": ["type", "title", "status", "detail"],
        },
        "examples": [{"name": "lost", "payload": example}],
    }
