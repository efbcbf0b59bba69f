"""The feed in the API's OpenAPI document."""

from typing import Final, cast

import msgspec
from litestar.types import Scope

from events.cloudevent_schema import cloud_event_schema
from events.envelope import WorkspaceId
from events.examples import example_event
from events.feed import FEED_BEGINNING, feed_place_of
from events.jetstream import stream_name, workspace_subjects
from events.token import Tokens
from query_side.feed import FedEvent
from query_side.feed_cursors import FeedCursors
from query_side.feed_requests import (
    LAST_EVENT_ID,
    LIMIT_DEFAULT,
    LIMIT_MAX,
    WAIT_MAX,
    read_events,
)
from query_side.feed_routes import EVENTS, PAGE_BYTES, STREAM
from query_side.feed_stream import (
    HEARTBEAT_SECONDS,
    LOST_EVENT,
    MEDIA_TYPE,
    opening_of,
    written,
)
from query_side.reads import LostCursor
from query_side.refusals import api_error_of
from query_side.requests import CONSISTENCY_HEADER
from runtime.readable import Json
from runtime.sealing import Sealer
from runtime.settings import MasterKeys
from runtime.web.openapi.kit import (
    Answer,
    FailureExample,
    Operation,
    failure,
    link,
    object_schema,
    raised_by,
    ref,
    success_example,
    success_schema,
)
from runtime.web.openapi.parameters import parameter_refs
from runtime.web.openapi.problems import META

_CURSORS: Final = FeedCursors(1)
_TOKENS: Final = Tokens(Sealer(MasterKeys(current="", by_id={"": bytes(32)})), 1)
_ACME: Final = WorkspaceId("acme")
_EXAMPLE: Final = example_event("CustomerCreated", "https://customers.example.com")
_STORED: Final = _EXAMPLE.stored
_CURSOR: Final = _CURSORS.write(_ACME, feed_place_of(_STORED))
_EVENT: Final = FedEvent(cursor=_CURSOR, type=_STORED.type, body=_EXAMPLE.body)
_OPENING: Final = opening_of(_CURSORS.write(_ACME, FEED_BEGINNING), [])
_MESSAGE: Final = "Events retrieved successfully"


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


FEED_PARAMETERS: Final[dict[str, Json]] = {
    "feed.after": _query(
        "after",
        {"type": "string", "format": "feed-cursor"},
        "`meta.next_cursor` of an earlier answer, or the `id` of an event of the stream: goes on "
        "behind that event. A cursor is good for ever, for its own workspace. `now` begins behind "
        "the newest event. Without it: from the first event ever.",
    ),
    "feed.limit": _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        f"How many events at most. About {PAGE_BYTES // 1024**2} MiB of them make a page too; "
        "`meta.has_more` then says that there are others.",
    ),
    "feed.wait": _query(
        "wait",
        {"type": "integer", "minimum": 0, "maximum": WAIT_MAX, "default": 0},
        "How many seconds to wait for an event when there is none: answered as soon as there is "
        "one, and else with an empty page and the same cursor. So few calls follow the feed "
        "closely.",
    ),
    "feed.hand_over": _query(
        "hand_over",
        {"type": "boolean", "default": False},
        "Adds `meta.hand_over`: where in JetStream to subscribe to get exactly what comes behind "
        "`meta.next_cursor`. Its `start_sequence` counts the events of all workspaces, and that is "
        "why it has to be asked for.",
    ),
    "feed.consistency": _query(
        "consistency",
        {"type": "string", "enum": ["eventual"]},
        "Taken as every read takes it, and makes no difference here: events are read from the log "
        "itself, which has every write that has answered.",
    ),
    "feed.token": {
        "name": CONSISTENCY_HEADER,
        "in": "header",
        "description": "A token that a write has answered. Events show that write without it, and "
        "nobody waits; it is 410 when the service was restored to a point before the write.",
        "schema": {"type": "string", "format": "consistency-token"},
    },
    LAST_EVENT_ID: {
        "name": LAST_EVENT_ID,
        "in": "header",
        "description": "The `id` of the last event that arrived: goes on behind it, whatever "
        "`after` says. Libraries for server-sent events send it by themselves when they come back.",
        "schema": {"type": "string", "format": "feed-cursor"},
    },
}


def _read_badly(query_string: bytes) -> FailureExample:
    scope = cast(Scope, {"query_string": query_string, "headers": [], "state": {}})
    return failure(raised_by(lambda: read_events(scope, _ACME, _CURSORS, _TOKENS)), EVENTS)


FEED_FAILURES: Final[dict[str, FailureExample]] = {
    "events_out_of_range": _read_badly(b"limit=%d&wait=%d" % (LIMIT_MAX + 1, WAIT_MAX + 1)),
    "no_feed_cursor": _read_badly(b"after=nothing"),
    "lost_place": failure(api_error_of(LostCursor()), EVENTS),
}

LOST_EXAMPLE: Final[Json] = msgspec.json.decode(failure(api_error_of(LostCursor()), STREAM).body)
"""The data of the last event of a stream whose history was lost."""

FEED_OPERATIONS: Final[dict[str, Operation]] = {
    "list_events": Operation(
        tag="Events",
        description="Everything that ever happened to the customers of the workspace, in order, "
        "without gaps, for ever; the same CloudEvents 1.0 as in JetStream, byte for byte until the "
        "customer is erased (`data` is null) or the service has another address (in `dataschema`). "
        "A write is here as soon as it has answered. 410 when the service was restored to a point "
        "before the cursor.",
        parameters=parameter_refs(
            *("feed.after", "feed.limit", "feed.wait", "feed.hand_over"),
            *("feed.consistency", "feed.token", "Prefer"),
        ),
        answers={
            200: Answer(
                description=_MESSAGE,
                schema=ref("EventListAnswer"),
                examples={
                    "events": success_example(
                        _MESSAGE,
                        [msgspec.json.decode(_EVENT.body)],
                        {
                            "next_cursor": _CURSOR,
                            "has_more": False,
                            "hand_over": {
                                "stream": stream_name(1, 1),
                                "subject": workspace_subjects(1, 1, _ACME),
                                "start_sequence": _STORED.position + 1,
                            },
                        },
                    )
                },
                headers=("Preference-Applied",),
                links={
                    "next": link(
                        "list_events",
                        "What comes behind.",
                        {"after": "$response.body#/meta/next_cursor"},
                    )
                },
            )
        },
        failures=("events_out_of_range", "no_feed_cursor", "lost_place", "lost_history"),
    ),
    "stream_events": Operation(
        tag="Events",
        description="The same as server-sent events, and every later one as soon as it happens. "
        "`id` is a cursor, `event` the type, `data` the CloudEvent on one line. The stream stays "
        f"open; after {HEARTBEAT_SECONDS} seconds without an event comes a comment. It ends when "
        "the key is no longer valid, and when the service stops: come back with the last `id`. "
        f"When the history is lost on the way, the last event is `{LOST_EVENT}`, with the problem "
        "as its data. What of the query is ignored is said in a comment at the beginning. "
        "Not from a browser: its EventSource cannot send the API key; use fetch() or a server.",
        parameters=parameter_refs(
            *("feed.after", "feed.consistency", LAST_EVENT_ID, "feed.token", "Prefer")
        ),
        answers={
            200: Answer(
                description="Events, as they happen.",
                schema={"type": "string"},
                examples={"events": {"value": (_OPENING + written([_EVENT])).decode()}},
                headers=("X-Accel-Buffering", "Preference-Applied"),
                media_types=(MEDIA_TYPE,),
            )
        },
        failures=("no_feed_cursor", "lost_place", "lost_history"),
    ),
}

_META: Final[dict[str, Json]] = {
    "next_cursor": {
        "type": "string",
        "description": "Send it as `after` to go on behind these events; always there, also when "
        "there are none. Keep it together with what you make of the events.",
    },
    "has_more": {"type": "boolean", "description": "Whether there are more events already."},
}
_HAND_OVER: Final = object_schema(
    {
        "stream": {"type": "string", "description": "The JetStream stream."},
        "subject": {"type": "string", "description": "Filters for the events of the workspace."},
        "start_sequence": {
            "type": "integer",
            "minimum": 1,
            "description": "Deliver from this sequence of the stream on.",
        },
    },
    required=["stream", "subject", "start_sequence"],
    description="Where what comes behind `next_cursor` begins in JetStream; only when it was "
    "asked for.",
)

FEED_SCHEMAS: Final[dict[str, Json]] = {
    "CloudEvent": cloud_event_schema(),
    "HandOver": _HAND_OVER,
    "EventListMeta": object_schema(
        _META | {"hand_over": ref("HandOver")} | META, required=[*_META, "request_id"]
    ),
    "EventListAnswer": success_schema(
        {"type": "array", "maxItems": LIMIT_MAX, "items": ref("CloudEvent")}, ref("EventListMeta")
    ),
}
