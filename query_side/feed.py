"""The feed: a workspace's events as CloudEvents, the same bytes that JetStream has, in order."""

from collections.abc import Sequence

from msgspec import Struct

from events.envelope import WorkspaceId
from events.feed import FeedLog, FeedPage, FeedPlace, feed_place_of
from events.jetstream import stream_name, workspace_subjects
from events.rendering import Renderer
from query_side.feed_cursors import FeedCursors
from query_side.feed_requests import Start
from query_side.reads import LostCursor


class FedEvent(Struct, frozen=True, kw_only=True):
    """An event as readers get it."""

    cursor: str
    type: str
    body: bytes
    """The CloudEvent."""


class Fed(Struct, frozen=True, kw_only=True):
    """Events that follow one another without a gap."""

    events: Sequence[FedEvent]
    end: FeedPlace
    has_more: bool
    hand_over: dict[str, object]
    """Where in JetStream what comes behind `end` begins."""


class Feed:
    """Reads the events of one workspace at a time."""

    def __init__(self, feed_log: FeedLog, renderer: Renderer) -> None:
        self._feed_log = feed_log
        self._renderer = renderer
        self._log_id = renderer.log_id
        self.cursors = FeedCursors(renderer.log_id)

    async def find(self, workspace_id: WorkspaceId, start: Start) -> FeedPlace:
        """The place where a reader begins."""
        if start != "now":
            return start
        return (await self._feed_log.find_ends([workspace_id]))[workspace_id]

    async def read(
        self, workspace_id: WorkspaceId, after: FeedPlace, *, limit: int, size: int
    ) -> Fed:
        """Events behind a place, at most `limit` and about `size` bytes, but at least one.

        Raises LostCursor; CorruptEvent and KeyUnavailable for an event that cannot be opened, for
        none is left out.
        """
        page = await self._feed_log.read_page(workspace_id, after, limit=limit, size=size)
        if page is None:
            raise LostCursor
        events: list[FedEvent] = []
        for keyed in page.events:
            cursor = self.cursors.write(workspace_id, feed_place_of(keyed.stored))
            body = self._renderer.body(keyed)
            events.append(FedEvent(cursor=cursor, type=keyed.stored.type, body=body))
        return Fed(
            events=events,
            end=page.end,
            has_more=page.has_more,
            hand_over=self._hand_over(workspace_id, page),
        )

    def _hand_over(self, workspace_id: WorkspaceId, page: FeedPage) -> dict[str, object]:
        return {
            "stream": stream_name(self._log_id, page.generation),
            "subject": workspace_subjects(self._log_id, page.generation, workspace_id),
            # The sequence of a message is the position of its event.
            "start_sequence": page.position + 1,
        }
