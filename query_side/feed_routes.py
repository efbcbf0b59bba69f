"""HTTP <-> the feed: a page of events, waited for if need be, or all of them as they happen."""

import asyncio
from collections.abc import Coroutine
from typing import Final

from litestar import HttpMethod, Response, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from litestar.types import Receive

from events.envelope import WorkspaceId
from query_side.feed import Fed
from query_side.feed_requests import EventsRequest, read_events, read_stream
from query_side.feed_stream import (
    BYTES_PER_PAGE,
    EVENTS_PER_PAGE,
    MEDIA_TYPE,
    EventStream,
    FeedMeans,
    opening_of,
)
from query_side.requests import workspace_of
from runtime.tasks import end
from runtime.web.admission import STREAMS
from runtime.web.envelope import BASE_PATH, success
from runtime.web.ignored import warnings_meta
from runtime.web.problems import AnyRequest

PAGE_BYTES: Final = 4 * 1024 * 1024
"""About so many bytes of events make a page, however many were asked for."""
EVENTS: Final = f"{BASE_PATH}/events"
STREAM: Final = f"{EVENTS}/stream"
_READ: Final = {"scope": "customers:read"}
_METHODS: Final = [HttpMethod.GET, HttpMethod.HEAD]
# A proxy that gathers an answer before it passes it on would pass on nothing.
_UNBUFFERED: Final = {"X-Accel-Buffering": "no"}


@route(EVENTS, http_method=_METHODS, opt=_READ)
async def list_events(
    request: AnyRequest,
    feed_means: NamedDependency[FeedMeans],
) -> Response[bytes]:
    """List events in the order in which they happened."""
    workspace_id = workspace_of(request)
    cursors, tokens = feed_means.feed.cursors, feed_means.tokens
    asked = read_events(request.scope, workspace_id, cursors, tokens)
    await feed_means.reads.check(asked.demand)
    reading = _read(feed_means, request, workspace_id, asked)
    # Nobody who has gone is waited for.
    fed = await (_unless_gone(request.receive, reading) if asked.wait else reading)
    if fed is None:
        return Response(b"")
    meta: dict[str, object] = {
        "next_cursor": cursors.write(workspace_id, fed.end),
        "has_more": fed.has_more,
    }
    if asked.hand_over:
        meta["hand_over"] = fed.hand_over
    return success(
        request.scope,
        b"[%b]" % b",".join(event.body for event in fed.events),
        message="Events retrieved successfully",
        meta=meta | warnings_meta(asked.warnings),
    )


@route(STREAM, http_method=_METHODS, opt={**_READ, STREAMS: True})
async def stream_events(
    request: AnyRequest,
    feed_means: NamedDependency[FeedMeans],
) -> Stream:
    """Stream events as they happen, from any place on."""
    workspace_id, feed = workspace_of(request), feed_means.feed
    asked = read_stream(request.scope, workspace_id, feed.cursors, feed_means.tokens)
    await feed_means.reads.check(asked.demand)
    place = await feed.find(workspace_id, asked.start)
    # Read before the answer begins: a place that is lost is told by its status.
    fed = await feed.read(workspace_id, place, limit=EVENTS_PER_PAGE, size=BYTES_PER_PAGE)
    opening = opening_of(feed.cursors.write(workspace_id, place), asked.warnings)
    stream = EventStream(feed_means, request.scope, workspace_id, opening, fed)
    # The server sends no body with an answer to HEAD, but it would wait for its end.
    content: EventStream | tuple[bytes, ...] = () if request.method == HttpMethod.HEAD else stream
    return Stream(content, media_type=MEDIA_TYPE, headers=_UNBUFFERED)


ROUTES: tuple[HTTPRouteHandler, ...] = (list_events, stream_events)


async def _read(
    means: FeedMeans, request: AnyRequest, workspace_id: WorkspaceId, asked: EventsRequest
) -> Fed:
    """The page that is asked for; an empty one when nothing happens in time."""
    feed, arrivals = means.feed, means.arrivals
    place = await feed.find(workspace_id, asked.start)
    if not asked.wait:
        return await feed.read(workspace_id, place, limit=asked.limit, size=PAGE_BYTES)
    with arrivals.expecting(workspace_id, place) as waiter:
        fed = await feed.read(workspace_id, place, limit=asked.limit, size=PAGE_BYTES)
        if not fed.events and await waiter.wait(
            asked.wait, lambda: means.authentication.check_again(request.scope)
        ):
            fed = await feed.read(workspace_id, place, limit=asked.limit, size=PAGE_BYTES)
    return fed


async def _unless_gone(receive: Receive, reading: Coroutine[object, object, Fed]) -> Fed | None:
    """What is read; None as soon as the client has hung up."""
    read, gone = asyncio.create_task(reading), asyncio.create_task(_hang_up(receive))
    try:
        await asyncio.wait((read, gone), return_when=asyncio.FIRST_COMPLETED)
        return read.result() if read.done() else None
    finally:
        await end(read, gone)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
