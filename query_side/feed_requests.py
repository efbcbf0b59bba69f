"""What a call for events asks for: where to begin, how many, and how long to wait for one."""

from typing import Final, Literal, TypeAlias

from litestar.types import Scope

from events.envelope import WorkspaceId
from events.feed import FEED_BEGINNING, FeedPlace
from events.token import Tokens
from query_side.feed_cursors import FeedCursors
from query_side.requests import ReadRequest, read_demand
from runtime.web.headers import header
from runtime.web.preferences import heed_handling
from runtime.web.query_string import ParameterReader, read_parameters

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 500
WAIT_MAX: Final = 30
LAST_EVENT_ID: Final = "Last-Event-ID"

Start: TypeAlias = FeedPlace | Literal["now"]
"""Behind which event to begin; `now`: behind the newest one."""


class EventsRequest(ReadRequest, frozen=True, kw_only=True):
    """Which events a call asks for."""

    start: Start
    limit: int
    wait: int
    """Seconds to wait for an event when there is none."""
    hand_over: bool


class StreamRequest(ReadRequest, frozen=True, kw_only=True):
    """From where on a call wants all events, for as long as it lasts."""

    start: Start


def read_events(
    scope: Scope, workspace_id: WorkspaceId, cursors: FeedCursors, tokens: Tokens
) -> EventsRequest:
    """What a call for a page asks for; raises ApiError 400 with all errors at once.

    A token makes nobody wait: the log itself is read, which has all that was written.
    """
    reader = ParameterReader(read_parameters(scope["query_string"]))
    return EventsRequest(
        start=_read_after(reader, workspace_id, cursors),
        limit=reader.number("limit", LIMIT_DEFAULT, LIMIT_MAX),
        wait=reader.number("wait", 0, WAIT_MAX, least=0),
        hand_over=reader.flag("hand_over"),
        demand=read_demand(scope, workspace_id, reader, tokens),
        warnings=reader.finish(strict=heed_handling(scope)),
    )


def read_stream(
    scope: Scope, workspace_id: WorkspaceId, cursors: FeedCursors, tokens: Tokens
) -> StreamRequest:
    """What a call for a stream asks for; raises ApiError 400 with all errors at once.

    Who comes back says by Last-Event-ID what came last, and repeats the query of the first time.
    """
    reader = ParameterReader(read_parameters(scope["query_string"]))
    last = (header(scope, LAST_EVENT_ID.lower().encode("ascii")) or b"").decode("latin-1")
    start: Start | None
    if last:
        reader.one("after")
        start = cursors.read(workspace_id, last)
        if start is None:
            message = (
                f"{LAST_EVENT_ID} must be the id of an event of this workspace, sent as it was "
                "given."
            )
            reader.refuse(LAST_EVENT_ID, message, "invalid_cursor")
    else:
        start = _read_after(reader, workspace_id, cursors)
    demand = read_demand(scope, workspace_id, reader, tokens)
    warnings = reader.finish(strict=heed_handling(scope))
    return StreamRequest(start=start or FEED_BEGINNING, demand=demand, warnings=warnings)


def _read_after(reader: ParameterReader, workspace_id: WorkspaceId, cursors: FeedCursors) -> Start:
    text = reader.one("after")
    if text is None:
        return FEED_BEGINNING
    if text == "now":
        return "now"
    place = cursors.read(workspace_id, text)
    if place is None:
        message = (
            "after must be a meta.next_cursor of this workspace's events, sent as it was given, "
            "or now."
        )
        reader.refuse("after", message, "invalid_cursor")
    return place or FEED_BEGINNING
