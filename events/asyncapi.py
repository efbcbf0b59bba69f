"""`/asyncapi.json`: what the service publishes, and where, for the programs of its subscribers.

Subjects, headers, members and schemas are those that the relay and the feed use themselves.
"""

from importlib.metadata import version
from typing import Final
from urllib.parse import urlsplit

import msgspec

from events import cloudevents, jetstream
from events.cloudevent_schema import (
    TRACEPARENT_PATTERN,
    cloud_event_schema,
    example_event,
)
from events.cloudevents import traceparent_of
from events.event_schema import Json
from events.schemas import PUBLISHED, read_schema
from events.upcasters import NEWEST_VERSION

ADDRESS: Final = "customers.{log}.{generation}.{workspace}.{partition}.{action}"
STREAM: Final = "CUSTOMERS_{log}_{generation}"
FEED: Final = "/api/v1/external/events"
_LIVE: Final = f"{FEED}/stream"
_HEX: Final = "^[0-9a-f]{64}$"

_ABOUT: Final = f"""\
Every change of a customer is one event: a CloudEvent 1.0 in JSON, the same wherever it is read. \
It holds the whole customer after the change, what changed, what that was before, who and why. A \
subscriber needs no call of the API and folds nothing.

## Three ways to read

- **NATS JetStream**: for services that follow live, at any rate. It takes a NATS user who may \
read your subjects.
- `GET {FEED}`: for whoever speaks HTTP, page by page or by long poll. It takes an API key with \
`customers:read`.
- `GET {_LIVE}`: the same as server-sent events.

Nothing expires: each way begins with the first event ever.

## What holds

- **In order, without gaps.** `sequence` counts the events of a workspace: 1, 2, 3 and so on. A \
number that does not follow the one before means that something was missed: read again from the \
last that you have.
- **At least once.** An event may come again, after a reconnection for instance. Keep the last \
`sequence` in the same transaction as what you made of it, and skip what is not greater.
- **The place in JetStream.** The sequence of a message in the stream `{STREAM}` is the position \
of the event in the log; `{jetstream.POSITION_HEADER}` says it again. Other workspaces' events \
are in between, so only `sequence` shows a gap.
- **Erasure.** After `CustomerErased` nobody can read the customer's earlier events. Over HTTP, \
and in a stream that was made again, they are tombstones: all the members, but `"data": null`. \
From JetStream they may be deleted: a hole in `sequence`, at positions that a `CustomerErased` \
lists.
- **Generations.** When the log had to go on from an earlier point (a backup was restored), a new \
generation begins, with a stream and subjects of its own, and nothing more comes on the old ones. \
A cursor of the history that was lost is answered 410, never skipped. `{jetstream.CHAIN_HEADER}` \
tells two histories apart: the same position, another chain.
- **Only the relay publishes.** Nobody else has the right to; a message that is not in the log \
stops the relay, and a person decides.

## Growing

Ignore members, types and actions that you do not know. What a published schema says stays true \
of every event that names it in `dataschema`; it may only come to describe further optional \
members. Anything else is a new version, beside the old one: old events keep theirs.

## From the feed to JetStream

Read `GET {FEED}` to its end, the last page with `hand_over=true`: its `meta.hand_over` names the \
stream, the subject to filter by, and the sequence to start from (`deliver_policy: \
by_start_sequence`). What comes there is exactly what comes behind that page.
"""

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
        "pattern": _HEX,
        "description": "SHA-256 over the event as it is stored.",
    },
    jetstream.CHAIN_HEADER: {
        "type": "string",
        "pattern": _HEX,
        "description": "SHA-256 over the chain of the event before and this digest: two logs that "
        "have the same here have the same history up to here.",
    },
}
_TRACE: Final[Json] = {
    "type": "string",
    "pattern": TRACEPARENT_PATTERN,
    "description": "W3C Trace Context of the request that made the change; only when it had one.",
}


def describe_events(public_url: str) -> Json:
    """The AsyncAPI document of a service that is reached at this address."""
    types = list(NEWEST_VERSION)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Customers events",
            "version": version("customers"),
            "description": _ABOUT,
            "license": {"name": "Apache 2.0"},
            "externalDocs": {
                "description": "The HTTP API",
                "url": f"{public_url.rstrip('/')}/docs",
            },
        },
        "defaultContentType": cloudevents.CONTENT_TYPE,
        "servers": _servers(public_url),
        "channels": _channels(types),
        "operations": _operations(types),
        "components": {
            "messages": {
                **{event_type: _message(event_type, public_url) for event_type in types},
                "FeedEvent": _feed_message(types, public_url),
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
                    "name": "X-Api-Key",
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
            "description": f"The stream `{STREAM}`: file storage, kept for ever.",
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


def _channels(types: list[str]) -> Json:
    return {
        "customers": {
            "address": ADDRESS,
            "title": "Customers in NATS JetStream",
            "description": f"The stream `{STREAM}`. Nothing but events is on these subjects.",
            "servers": [{"$ref": "#/servers/nats"}],
            "parameters": _PARAMETERS,
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in types},
        },
        "stream": {
            "address": _LIVE,
            "title": "The events of your workspace, as server-sent events",
            "description": "For one workspace: that of the API key.",
            "servers": [{"$ref": "#/servers/http"}],
            "messages": {"FeedEvent": {"$ref": "#/components/messages/FeedEvent"}},
        },
    }


def _operations(types: list[str]) -> Json:
    return {
        "publish_events": {
            "action": "send",
            "title": "Events in NATS JetStream",
            "summary": "Every event of the log, in its order, within milliseconds of the write.",
            "description": "Filter a consumer by subject: `customers.1.1.acme.>` is everything of "
            "a workspace, `customers.1.1.acme.*.deleted` its deletions. Acknowledge explicitly, "
            "after you kept what you made of a message.",
            "channel": {"$ref": "#/channels/customers"},
            "messages": [{"$ref": f"#/channels/customers/messages/{name}"} for name in types],
        },
        "stream_events": {
            "action": "send",
            "title": "Events over HTTP",
            "summary": "Every event of the workspace, from the first one or behind any other, and "
            "then each as it happens.",
            "description": "Server-sent events: `event` is the type, `data` the CloudEvent, `id` a "
            "cursor. After a break send the last one as `Last-Event-ID`, and it goes on behind it. "
            "The document of the HTTP API says the rest, and how to read page by page instead: "
            f"`GET {FEED}`.",
            "channel": {"$ref": "#/channels/stream"},
            "messages": [{"$ref": "#/channels/stream/messages/FeedEvent"}],
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
    stored = example.stored
    headers = {
        "Content-Type": cloudevents.CONTENT_TYPE,
        jetstream.POSITION_HEADER: str(stored.position),
        jetstream.DIGEST_HEADER: stored.digest.hex(),
        jetstream.CHAIN_HEADER: stored.chain.hex(),
    }
    traceparent = traceparent_of(stored)
    if traceparent:
        headers[jetstream.TRACE_HEADER] = traceparent
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
            "properties": _HEADERS | {jetstream.TRACE_HEADER: _TRACE},
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
