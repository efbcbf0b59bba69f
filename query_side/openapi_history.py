"""Histories and the past in the API's OpenAPI document."""

from typing import Final, cast
from uuid import UUID

import msgspec
from litestar.types import Scope

from events.customer import EVENT_TYPES, CustomerErased
from events.envelope import WorkspaceId
from events.examples import EXAMPLES, example_event
from events.history import VERSION_MAX
from events.token import Tokens
from query_side.access_log import AccessNotRecorded
from query_side.changes import CSV_COLUMNS, HistoryEntry, changes_of, csv_lines
from query_side.history import PAGE_BYTES
from query_side.history_requests import FORMATS, LIMIT_DEFAULT, LIMIT_MAX, read_history
from query_side.history_routes import CSV
from query_side.past import LostMoment, MomentToCome
from query_side.refusals import api_error_of
from query_side.requests import PER_PAGE_MAX
from runtime.clock import format_time
from runtime.csv_cells import csv_line
from runtime.readable import Json
from runtime.sealing import Sealer
from runtime.settings import MasterKeys
from runtime.web.customer_problems import customer_not_then
from runtime.web.openapi.kit import (
    EXAMPLE_PATH,
    Answer,
    FailureExample,
    Operation,
    described,
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

_MESSAGE: Final = "History retrieved successfully"
_KEY_ID: Final = UUID("01939c2e-7a00-7c11-b5d2-6f0f4e1d2c3b")
_TOKENS: Final = Tokens(Sealer(MasterKeys(current="", by_id={"": bytes(32)})), 1)
_HISTORY_PATH: Final = f"{EXAMPLE_PATH}/history"


def _entry(event_type: str) -> HistoryEntry:
    """What a history says of the example of an event."""
    stored = example_event(event_type, "").stored
    event = EXAMPLES[EVENT_TYPES[event_type]]
    assert not isinstance(event, CustomerErased), "it tells nothing"  # noqa: S101 - a type guard
    return HistoryEntry(
        type=stored.type,
        version=stored.stream_version,
        sequence=stored.workspace_sequence,
        time=format_time(stored.recorded_at),
        event_id=stored.event_id,
        api_key_id=_KEY_ID,
        api_key_name="web shop",
        actor=event.actor,
        reason=event.reason,
        request_id=event.request_id,
        changes=changes_of(event),
    )


_ENTRIES: Final = [_entry(name) for name in ("CustomerCreated", "CustomerUpdated")]
_CSV_EXAMPLE: Final = b"".join(
    [csv_line(CSV_COLUMNS), *(line for entry in _ENTRIES for line in csv_lines(entry))]
)


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_MOMENT: Final[Json] = {"type": "string", "format": "date-time"}

HISTORY_PARAMETERS: Final[dict[str, Json]] = {
    "history.after": _query(
        "after",
        {"type": "integer", "minimum": 0, "maximum": VERSION_MAX, "default": 0},
        "`meta.next_after` of an earlier answer: goes on behind that version.",
    ),
    "history.limit": _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        f"How many entries at most. About {PAGE_BYTES // 1024**2} MiB of events make a page too.",
    ),
    "history.format": _query(
        "format",
        {"type": "string", "enum": list(FORMATS), "default": FORMATS[0]},
        "`csv` answers the whole history for a spreadsheet, so without `after` and `limit`: a line "
        "for each field that changed, and one without a field where none did. A text is there as "
        "it is, everything else as JSON, what is absent as an empty cell; in `custom_fields` "
        "a text that is empty or reads as JSON is JSON too. What a spreadsheet might take for a "
        "formula begins with an apostrophe; so does what begins with one already.",
    ),
    "history.consistency": _query(
        "consistency",
        {"type": "string", "enum": ["eventual"]},
        "Taken as every read takes it, and makes no difference here: a history is read from the "
        "log itself, which has every write that has answered.",
    ),
    "as_of": _query(
        "as_of",
        {"anyOf": [{"type": "integer", "minimum": 1, "maximum": VERSION_MAX}, _MOMENT]},
        "The customer as it was: in a version, or at a moment (RFC 3339, not to come), also when "
        "it was deleted since. 404 when it was not there then; 410 when it is erased by now.",
    ),
    "as_of.list": _query(
        "as_of",
        _MOMENT,
        "All customers as they were at a moment (RFC 3339, not to come), newest created first, "
        "without those that are erased by now. Page by page with `per_page` and `cursor`; a page "
        "may have fewer customers than that, or none, and yet go on. Not with `page`, `search`, "
        "`sort` or a filter, and there are no totals.",
    ),
}


def _read_badly() -> None:
    scope = cast(Scope, {"query_string": b"limit=%d" % (LIMIT_MAX + 1), "headers": [], "state": {}})
    read_history(scope, WorkspaceId("acme"), _TOKENS).check()


HISTORY_FAILURES: Final[dict[str, FailureExample]] = {
    "history_out_of_range": failure(raised_by(_read_badly), _HISTORY_PATH),
    "customer_not_then": failure(customer_not_then(), EXAMPLE_PATH),
    "moment_to_come": failure(api_error_of(MomentToCome()), EXAMPLE_PATH),
    "lost_list": failure(api_error_of(LostMoment())),
    "access_not_recorded": failure(api_error_of(AccessNotRecorded()), EXAMPLE_PATH),
}
AS_OF_FAILURES: Final = ("moment_to_come", "access_not_recorded")
"""Names of those that every call may answer that takes `as_of`."""

HISTORY_OPERATIONS: Final[dict[str, Operation]] = {
    "get_history": Operation(
        tag="Customers",
        description="Everything that ever happened to a customer, also to one that was deleted: "
        "when, by which key, by whom and why (`X-Actor` and `X-Reason` of the write), and what it "
        "changed. Of a customer that was erased there is only what happened and when, and by which "
        "key. Who reads a history is recorded.",
        parameters=parameter_refs(
            *("customer_id", "history.after", "history.limit", "history.format"),
            *("history.consistency", "feed.token", "Prefer"),
        ),
        answers={
            200: Answer(
                description=_MESSAGE,
                schema=ref("HistoryAnswer"),
                examples={
                    "history": success_example(
                        _MESSAGE,
                        msgspec.json.decode(msgspec.json.encode(_ENTRIES)),
                        {"total": len(_ENTRIES), "next_after": None},
                    )
                },
                other_forms={
                    CSV: {
                        "schema": {"type": "string"},
                        "examples": {"history": {"value": _CSV_EXAMPLE.decode()}},
                    }
                },
                headers=("Content-Disposition", "Preference-Applied"),
                links={
                    "next": link(
                        "get_history",
                        "What happened then.",
                        {
                            "customer_id": "$request.path.customer_id",
                            "after": "$response.body#/meta/next_after",
                        },
                    ),
                    "then": link(
                        "get_customer",
                        "The customer as the first of these events left it.",
                        {
                            "customer_id": "$request.path.customer_id",
                            "as_of": "$response.body#/data/0/version",
                        },
                    ),
                },
            )
        },
        failures=(
            *("malformed_id", "history_out_of_range", "customer_not_found", "lost_history"),
            "access_not_recorded",
        ),
    ),
}

_META: Final[dict[str, Json]] = {
    "total": {
        "type": "integer",
        "minimum": 1,
        "description": "How many events the history has: the newest version of the customer.",
    },
    "next_after": {
        "type": ["integer", "null"],
        "minimum": 1,
        "description": "Send it as `after` to go on; null at the end.",
    },
}
_PAST_META: Final[dict[str, Json]] = {
    "as_of": _MOMENT | {"description": "The moment of the list, in UTC."},
    "per_page": {"type": "integer", "minimum": 1, "maximum": PER_PAGE_MAX},
    "has_next": {"type": "boolean"},
    "next_cursor": {
        "type": ["string", "null"],
        "description": "Send it as `cursor` with the same `as_of` to go on; null at the end.",
    },
}

HISTORY_SCHEMAS: Final[dict[str, Json]] = {
    "Change": object_schema(
        {"from": {"description": "Its value before."}, "to": {"description": "Its value since."}},
        required=[],
        description="What became of a field. `from` is not there for a key that was added, `to` "
        "not for one that was removed.",
    ),
    "HistoryEntry": described(
        HistoryEntry,
        "One event of a customer.",
        type={"description": "There may be new ones.", "examples": ["CustomerUpdated"]},
        version={"minimum": 1, "description": "The version that the customer had since."},
        sequence={"minimum": 1, "description": "Its place among the events of the workspace."},
        time={"format": "date-time", "description": "RFC 3339, UTC, microseconds."},
        event_id={"description": "The `id` of the event in `GET /events`."},
        api_key_id={"description": "The API key of the write; null when none was used."},
        api_key_name={"description": "The name of that key; null when it is not kept any more."},
        actor={"description": "Who, as the write said in `X-Actor`."},
        reason={"description": "Why, as the write said in `X-Reason`."},
        request_id={"description": "The `X-Request-Id` of the write."},
        changes={
            "description": "The fields that changed; `custom_fields.<key>` and "
            "`communication_preferences.<channel>` key by key. Null when the customer was erased "
            "since.",
        },
    ),
    "HistoryMeta": object_schema(_META | META, required=[*_META, "request_id"]),
    "HistoryAnswer": success_schema(
        {"type": "array", "maxItems": LIMIT_MAX, "items": ref("HistoryEntry")}, ref("HistoryMeta")
    ),
    "PastListMeta": object_schema(_PAST_META | META, required=[*_PAST_META, "request_id"]),
}
