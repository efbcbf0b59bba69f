"""The feed as server-sent events: all of a workspace's events, for as long as the reader stays.

What is sent is one page at a time, and the next one is read when the reader has taken it. In the
language of server-sent events a line that begins with a colon is a comment.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Self

import psycopg
import structlog
from litestar.types import Scope
from msgspec import Struct

from events.envelope import WorkspaceId
from events.token import Tokens
from query_side.arrivals import Arrivals
from query_side.feed import Fed, FedEvent, Feed
from query_side.reads import CustomerReads, LostCursor
from query_side.refusals import api_error_of
from runtime.tasks import carried_through
from runtime.web.authentication import Authentication
from runtime.web.headers import raw_path, request_id
from runtime.web.problems import ApiKeyRefused

MEDIA_TYPE: Final = "text/event-stream"
_RETRY_MILLISECONDS: Final = 1000
HEARTBEAT_SECONDS: Final = 15
LOST_EVENT: Final = "lost_history"
EVENTS_PER_PAGE: Final = 100
BYTES_PER_PAGE: Final = 1024 * 1024
_DATABASE_AWAY_SECONDS: Final = 1.0
_HEARTBEAT: Final = b":\n\n"

log = structlog.get_logger()


class FeedMeans(Struct, frozen=True, kw_only=True):
    """What the routes of the feed answer with."""

    feed: Feed
    reads: CustomerReads
    """Knows the places that consistency tokens name."""
    tokens: Tokens
    arrivals: Arrivals
    authentication: Authentication


class EventStream:
    """What one reader is sent, piece by piece."""

    def __init__(
        self, means: FeedMeans, scope: Scope, workspace_id: WorkspaceId, opening: bytes, fed: Fed
    ) -> None:
        self._means = means
        self._scope = scope
        self._workspace_id = workspace_id
        self._place = fed.end
        self._first = opening + written(fed.events)
        self._was_taken = True
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._was_taken:
            # The server takes this when the reader has taken what came before: until then nothing
            # is read, so a slow reader costs no more than one page, and gets none after its key.
            self._was_taken = True
            return b""
        piece, self._first = self._first, b""
        if not piece and not self._is_over:
            piece = await self._next_or_end()
        if not piece:
            raise StopAsyncIteration
        self._was_taken = False
        return piece

    async def _next_or_end(self) -> bytes:
        try:
            return await self._next()
        except psycopg.OperationalError as error:
            # It comes back, and whoever stays goes on where it was.
            log.warning("stream.waits", error=type(error).__name__)
            await asyncio.sleep(_DATABASE_AWAY_SECONDS)
            return _HEARTBEAT
        except LostCursor as lost:
            self._is_over = True
            body = api_error_of(lost).body(request_id(self._scope), raw_path(self._scope))
            return b"event: %b\ndata: %b\n\n" % (LOST_EVENT.encode(), body)
        except ApiKeyRefused:
            return b""
        except Exception:
            # Who comes back gets the answer that there is for it.
            log.exception("stream.failed", request_id=request_id(self._scope))
            return b""

    async def _next(self) -> bytes:
        """More events, or a comment after a while without any; nothing when the process stops."""
        arrivals, authentication = self._means.arrivals, self._means.authentication
        while not arrivals.is_over:
            with arrivals.expecting(self._workspace_id, self._place) as waiter:
                await authentication.check_again(self._scope)
                reading = self._means.feed.read(
                    self._workspace_id, self._place, limit=EVENTS_PER_PAGE, size=BYTES_PER_PAGE
                )
                fed = await carried_through(reading)
                if fed.events:
                    self._place = fed.end
                    return written(fed.events)
                if not await waiter.wait(
                    HEARTBEAT_SECONDS, lambda: authentication.check_again(self._scope)
                ):
                    return _HEARTBEAT
        return b""


def opening_of(cursor: str, warnings: list[str]) -> bytes:
    """What a stream begins with: the place to come back to before there is an event, and how soon.

    Without data it is no event to the reader.
    """
    lines = [f": {warning}" for warning in warnings]
    lines += [f"retry: {_RETRY_MILLISECONDS}", f"id: {cursor}"]
    return "".join(f"{line}\n" for line in [*lines, ""]).encode()


def written(events: Sequence[FedEvent]) -> bytes:
    """Events as the reader gets them."""
    # JSON of ours has no line ends.
    return b"".join(
        b"id: %b\nevent: %b\ndata: %b\n\n"
        % (event.cursor.encode(), event.type.encode(), event.body)
        for event in events
    )
