"""Follows the customers: every event of one workspace or of all, once, in order, none left out.

    async with CustomerSubscriber(client, workspace_id=WorkspaceId("acme"), start=place) as events:
        async for recorded in events:
            ...

What JetStream delivers again is dropped; what its stream lacks, or gets wrong, is never skipped: it
is read from elsewhere (`fill`) or it is an error. Importing this needs nats-py and msgspec alone.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeAlias
from uuid import uuid4

import nats.errors
from msgspec.structs import replace
from nats.aio.client import Client

from events.consumer import PullConsumer
from events.continuity import Reading
from events.delivery import Delivery
from events.envelope import RecordedEvent, WorkspaceId
from events.errors import ConnectionGone, EventsError, EventsMissing
from events.messages import read_cloud_event
from events.place import BEGINNING, NOW, Now, Place
from runtime.tasks import end

__all__ = [
    "BEGINNING",
    "NOW",
    "CustomerSubscriber",
    "Fill",
    "Place",
    "RecordedEvent",
    "WorkspaceId",
    "read_cloud_event",
]

_BATCH_MAX: Final = 1000
_FILL_AGAIN_SECONDS: Final = 1.0

Fill: TypeAlias = Callable[[Place], Awaitable[Sequence[RecordedEvent]]]
"""The events right behind a place, as many as one likes, from where none is missing: the log.

For a subscriber of all workspaces they need their positions; over HTTP none are told.
"""

log = logging.getLogger("customers.subscriber")


class CustomerSubscriber:
    """An async iterator over recorded events, decrypted and in their newest form.

    `event.event` is None where the customer was erased since.

    `client` is a connection, or a function that answers the one of the moment and raises
    nats.errors.Error while there is none. Nothing is acknowledged: where to go on is for the
    reader to keep. `place` is that of the event at hand; kept in the same transaction as what the
    event leads to, it makes the effect exactly once. `checkpoint` is for effects that may happen
    again: it is awaited with the place when the next event (or batch) is asked for, so when the
    last one was dealt with, and on leaving `async with` in order, but not with an exception. With
    `start=NOW` it is also awaited with the place found, before there is any event.

    Two subscribers need two names: a second consumer of the same name takes the place of the first.
    The name of a workspace's consumer is the workspace unless another is given, since that is what
    its NATS user may make; any other name is new each time. `domain` is the name of JetStream for
    a user that deploy/make-subscriber made: customers.

    **None missing.** Of all workspaces, positions follow one another, and so do the chains. Of one
    workspace, its own sequence does, for others' events lie in between. A message whose place
    in the stream is not its event's position is nobody's event. Where there is a hole, the messages
    are asked for once more; if that shows the same, `fill` supplies what is missing, or
    EventsMissing is raised, before anything behind the hole is handed out. An event of a type or
    schema version that this build does not know raises UnknownEvent.

    **The same history.** Each time it connects anew, it begins at the place itself, and the chain
    in that message proves that the stream holds what was read up to there. If another message
    stands there, LostHistory is raised. If none does, because that event was erased since, what
    follows must carry on the count: within a generation a stream is filled from one history only,
    so a message that is not there was deleted. The stream of a newer generation holds every event
    up to the fork, so a place without its message is most likely one that never happened there:
    unless the chain of the next message proves otherwise, LostHistory is raised. A place without
    a chain proves nothing and is taken at its word.

    A newer generation is looked for when it connects and every two seconds, and followed. While its
    stream has nothing from the place on, be it that it is still being filled or that the log was
    restored to an earlier point, that is logged and waited for.
    """

    def __init__(
        self,
        client: Client | Callable[[], Client],
        *,
        log_id: int = 1,
        workspace_id: WorkspaceId | None = None,
        start: Place | Now = BEGINNING,
        checkpoint: Callable[[Place], Awaitable[None]] | None = None,
        fill: Fill | None = None,
        name: str | None = None,
        domain: str | None = None,
        wake: asyncio.Event | None = None,
    ) -> None:
        self._start = start
        self._checkpoint = checkpoint
        self._fill = fill
        self._wake = wake or asyncio.Event()
        """Set when something may be there to be taken."""
        self._delivery = Delivery(
            partial(_connected, client) if isinstance(client, Client) else client,
            PullConsumer(
                log_id, workspace_id, name or workspace_id or f"customers-{uuid4()}", domain
            ),
            self._wake.set,
        )
        self._reading = Reading(self._delivery, workspace_id)
        self._running: asyncio.Task[None] | None = None
        self._is_settled = True
        self._doubted: Place | None = None
        self._filled: deque[RecordedEvent] = deque()
        """What `fill` gave and was not handed out yet."""
        self._complained_of: Place | None = None
        """Where `fill` had nothing, so that it is said once."""

    async def __aenter__(self) -> Self:
        """Begin to read; for `start=NOW`, return once it is known where that is."""
        self.follow(self._start)
        self._running = asyncio.create_task(self.run())
        self._running.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._delivery.knows_its_place:
                self._wake.clear()
                self._check_running()
                await self._wake.wait()
            if isinstance(self._start, Now) and self._checkpoint is not None:
                await self._checkpoint(self.place)
        except BaseException:
            await end(self._running)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading; what was handed out counts as dealt with unless there was an exception."""
        try:
            if kind is None:
                await self._settle()
        finally:
            if self._running is not None:
                await end(self._running)
                with suppress(asyncio.CancelledError, EventsError):
                    self._running.result()
                self._running = None

    @property
    def place(self) -> Place:
        """The place of the event handed out last; at first, where it began."""
        return self._delivery.place

    def __aiter__(self) -> Self:
        """Event by event."""
        return self

    async def __anext__(self) -> RecordedEvent:
        """The next event, as soon as there is one."""
        await self._settle()
        (event,) = await self._next(1)
        return event

    async def batches(self, limit: int = _BATCH_MAX) -> AsyncGenerator[list[RecordedEvent]]:
        """Whatever is there, but at least one event and at most `limit`; `place` is the last's."""
        while True:
            await self._settle()
            yield await self._next(limit)

    async def run(self) -> None:
        """Keep messages coming; `async with` does it for who uses that. Raises ConnectionGone."""
        await self._delivery.run()

    def follow(self, start: Place | Now | None) -> None:
        """Read on from another place; nothing for None."""
        self._filled.clear()
        if isinstance(start, Place) and start.position == 0:
            # There is but one beginning, and what stands before the first event is known.
            count = start.workspace_sequence or 0
            start = replace(start, chain=BEGINNING.chain, workspace_sequence=count)
        self._delivery.follow(start)

    def skip_to(self, place: Place) -> None:
        """Read on behind a place that was reached by other means."""
        if place.position > self.place.position:
            self._delivery.advance(place)

    def take(self, limit: int) -> list[RecordedEvent]:
        """The events that have arrived and follow the place, without waiting for any."""
        return self._reading.take(limit)

    @property
    def trouble(self) -> EventsError | None:
        """Why the last `take` stopped where it did, unless that was all there was."""
        return self._reading.trouble

    @property
    def has_some(self) -> bool:
        """Whether anything behind the place has arrived."""
        messages = self._delivery.messages
        return bool(messages) and messages[-1][0] > self.place.position

    @property
    def heard_at(self) -> float:
        """Event loop time of the last sign of life of the stream."""
        return self._delivery.heard_at

    async def _settle(self) -> None:
        if not self._is_settled and self._checkpoint is not None:
            await self._checkpoint(self.place)
        self._is_settled = True

    async def _next(self, limit: int) -> list[RecordedEvent]:
        while True:
            self._wake.clear()
            events = self.take(limit)
            if not events and self.trouble is not None:
                events = await self._overcome(self.trouble, limit)
            elif not events:
                self._check_running()
                await self._wake.wait()
            if events:
                self._is_settled = False
                return events

    def _check_running(self) -> None:
        if self._running is None:
            raise RuntimeError("A CustomerSubscriber delivers inside `async with` alone.")
        if self._running.done():
            self._running.result()

    async def _overcome(self, trouble: EventsError, limit: int) -> list[RecordedEvent]:
        """What is missing, or nothing if it is worth looking again."""
        if not isinstance(trouble, EventsMissing):
            raise trouble
        if self._fill is not None:
            return await self._take_from(self._fill, limit, trouble)
        if self._doubted == self.place:
            raise trouble
        # It may have been lost on its way: messages that are not taken in time are.
        self._doubted = self.place
        self.follow(self.place)
        return []

    async def _take_from(
        self, fill: Fill, limit: int, trouble: EventsMissing
    ) -> list[RecordedEvent]:
        is_asked = not self._filled
        if is_asked:
            self._filled.extend(await fill(self.place))
        events: list[RecordedEvent] = []
        try:
            while self._filled and len(events) < limit:
                event = self._filled.popleft()
                if self._reading.adopt(event):
                    events.append(event)
        except EventsMissing:
            self._filled.clear()
            # It is raised again by the next call, when those before it are dealt with.
            if not events:
                raise
        if is_asked and not events:
            if self._complained_of != self.place:
                log.warning("waits for `fill`, which gives nothing new: %s", trouble)
            self._complained_of = self.place
            # A message where the log has no event yet: somebody else published it.
            await asyncio.sleep(_FILL_AGAIN_SECONDS)
        return events


def _connected(client: Client) -> Client:
    if client.is_closed:
        raise ConnectionGone
    if not client.is_connected:
        raise nats.errors.ConnectionReconnectingError
    return client
