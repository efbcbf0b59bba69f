"""What the service says of itself in documents: a second composition root, which starts nothing."""

from typing import Final

import msgspec

from command_side.app import ROUTES as COMMAND_ROUTES
from command_side.openapi import DESCRIPTION as COMMANDS
from events import published_schemas
from events.asyncapi import OverHttp, describe_events
from query_side.app import ROUTES as QUERY_ROUTES
from query_side.feed_requests import LAST_EVENT_ID
from query_side.feed_routes import EVENTS, STREAM
from query_side.feed_stream import LOST_EVENT
from query_side.openapi import DESCRIPTION as QUERIES
from query_side.openapi_feed import LOST_EXAMPLE
from runtime.published_heads import log_head_part
from runtime.readable import readable_json
from runtime.settings import Settings
from runtime.telemetry.api import metrics_part
from runtime.web.authentication import KEY_HEADER
from runtime.web.event_docs import ROUTES as EVENT_DOC_ROUTES
from runtime.web.event_docs import EventDocuments
from runtime.web.fixed_document import A_DAY, FixedDocument
from runtime.web.frame import Part, document_of
from runtime.web.openapi.event_docs import describe_event_docs

_OVER_HTTP: Final = OverHttp(
    pages=EVENTS,
    live=STREAM,
    key_header=KEY_HEADER,
    last_id_header=LAST_EVENT_ID,
    lost_event=LOST_EVENT,
    lost_example=LOST_EXAMPLE,
)


def api_document() -> bytes:
    """The OpenAPI document of an API with both sides, as readable JSON; no server is needed."""
    parts = [
        Part(routes=COMMAND_ROUTES, description=COMMANDS),
        Part(routes=QUERY_ROUTES, description=QUERIES),
        event_docs(Settings().public_url),
        log_head_part(Settings(), None),
        metrics_part(None),
    ]
    return readable_json(document_of(parts))


def events_document(public_url: str) -> bytes:
    """The AsyncAPI document of a service that is reached there, as readable JSON."""
    return readable_json(describe_events(public_url, _OVER_HTTP))


def event_docs(public_url: str) -> Part:
    """What every API process says of the events, whichever side it serves."""
    kept = {"media_type": published_schemas.CONTENT_TYPE, "cache_control": A_DAY}
    documents = EventDocuments(
        asyncapi=FixedDocument(msgspec.json.encode(describe_events(public_url, _OVER_HTTP))),
        schema_index=FixedDocument(published_schemas.served_index(public_url)),
        schemas={
            name: FixedDocument(body, **kept)
            for name, body in published_schemas.served_schemas(public_url).items()
        },
    )
    return Part(
        routes=EVENT_DOC_ROUTES,
        dependencies={"event_documents": documents},
        description=describe_event_docs(
            published_schemas.PUBLISHED, published_schemas.CONTENT_TYPE
        ),
    )
