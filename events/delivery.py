"""Messages of a log's stream as they come: a pull consumer of our own, kept alive or made again.

        ┌────── broken, reconnected, consumer or stream gone, newer generation ◄────┐
        ▼                                                                           │
    make a consumer at the place, in the newest generation ──► keep a pull request open

Nothing here is relied upon: no message is acknowledged, and no loss is noticed or repaired here.
It asks for no more rights than to make, to pull and to delete one consumer by name and subject.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import nats.errors
import structlog
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg

from events.consumer import AT_THE_END, HEARTBEAT_SECONDS, PullConsumer, at_position
from events.envelope import Position
from events.errors import UnknownEvent
from events.messages import NotAnEvent, position_of, read_message, stream_sequence_of
from events.place import BEGINNING, Now, Place

BUFFERED_MAX: Final = 2000
_PULL_MESSAGES: Final = 1000
_LOST_SECONDS: Final = 3 * HEARTBEAT_SECONDS
# Of the statuses 409, these say that a pull request is over and not that the consumer is.
_ENDS_OF_A_REQUEST: Final = frozenset(("Batch Completed", "Message Size Exceeds MaxBytes"))
_RETRY_SECONDS: Final = 1.0
_PROBE_SECONDS: Final = 2.0

log = structlog.get_logger()


class Delivery:
    """Messages from a place on, of the newest generation there is, for one reader.

    The reader takes `messages` from the left, moves `place`, and calls `taken`.
    """

    def __init__(
        self, client: Callable[[], Client], consumer: PullConsumer, arrived: Callable[[], None]
    ) -> None:
        self._client = client
        self._consumer = consumer
        self._arrived = arrived
        self._start: Place | Now | None = None
        self._turn = 0
        self._asked = 0
        self._broken = False
        self._changed = asyncio.Event()
        self.place = BEGINNING
        """Behind it events are wanted; a new consumer begins at it."""
        self.messages: deque[tuple[Position, Msg]] = deque()
        """With the positions that they say they have."""
        self.generation = 0
        """The lineage that the messages are of."""
        self.number = 0
        """Counts the consumers: what the last one lost may come with the next."""
        self.is_proven = False
        """Whether this consumer has shown that its stream holds what was read up to `place`."""
        self.heard_at = 0.0
        """Event loop time of the last sign of life of the stream."""

    @property
    def stream(self) -> str:
        """The name of the stream that the messages are of, or ought to be."""
        return self._consumer.stream(self.generation or self.place.generation)

    @property
    def knows_its_place(self) -> bool:
        """Whether it is known where to begin: at once, unless it is at the end of the stream."""
        return not isinstance(self._start, Now)

    def follow(self, start: Place | Now | None) -> None:
        """Deliver from here on from now on; nothing for None."""
        self._start = start
        if isinstance(start, Place):
            self.place = start
        self._turn += 1
        self.messages.clear()
        self._changed.set()

    def taken(self) -> None:
        """There may be room for more."""
        self._changed.set()

    async def run(self) -> None:
        """Deliver for ever, through every loss of NATS, of the stream or of the consumer."""
        is_told = False
        while True:
            if self._start is None:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                await self._deliver(self._turn)
                is_told = False
                if self._broken:
                    # Maybe by another one of the same name: the two take turns, but not in haste.
                    await asyncio.sleep(_RETRY_SECONDS)
            except (nats.errors.Error, TimeoutError, OSError) as error:
                if not is_told:
                    log.info("subscriber.waits", error=str(error) or type(error).__name__)
                is_told = True
                await asyncio.sleep(_RETRY_SECONDS)

    async def _deliver(self, turn: int) -> None:
        """Have one consumer deliver until it is broken or something else is wanted."""
        client = self._client()
        reconnects = client.stats["reconnects"]
        if isinstance(self._start, Now):
            end = await self._find_end(client)
            if self._turn != turn:
                return
            self._start = self.place = end
            self._arrived()
        generation, _ = await self._consumer.make_newest(
            client, self.place.generation, at_position(self.place.position)
        )
        if self._turn != turn:
            return
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=self._begin(generation))
        probing = asyncio.create_task(self._watch_for_newer(client, generation))
        try:
            while self._turn == turn and not self._is_lost(client, reconnects):
                await self._keep_pulling(client, generation, inbox)
        finally:
            self.number += 1
            probing.cancel()
            # What cannot be tidied up now ends by itself when nobody pulls.
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await subscription.unsubscribe()
                # A broken one is gone, and one of its name would be somebody else's.
                if client.is_connected and not self._broken:
                    await self._consumer.delete(client, generation)

    def _begin(self, generation: int) -> Callable[[Msg], Awaitable[None]]:
        if self.generation not in {0, generation}:
            log.info("subscriber.generation", stream=self._consumer.stream(generation))
        self.messages.clear()
        self.number += 1
        self.generation = generation
        self.is_proven = self.place.position == 0
        self._asked, self._broken = 0, False
        self.heard_at = _now()
        number = self.number

        async def receive(message: Msg) -> None:
            # What an earlier consumer still had on its way would be out of order.
            if self.number == number:
                self._receive(message)

        return receive

    async def _keep_pulling(self, client: Client, generation: int, inbox: str) -> None:
        missing = _PULL_MESSAGES - self._asked
        has_room = len(self.messages) + _PULL_MESSAGES <= BUFFERED_MAX
        if has_room and missing >= _PULL_MESSAGES // 2:
            self._asked += missing
            await self._consumer.pull(client, generation, inbox, missing)
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._changed.wait()

    def _is_lost(self, client: Client, reconnects: int) -> bool:
        return (
            self._broken
            or not client.is_connected
            # The pull request went down with the old connection.
            or client.stats["reconnects"] != reconnects
            or (self._asked > 0 and _now() - self.heard_at > _LOST_SECONDS)
        )

    def _receive(self, message: Msg) -> None:
        self.heard_at = _now()
        headers = message.headers or {}
        status = headers.get("Status")
        if status is not None and not message.reply:
            self._receive_status(status, headers)
            return
        self._asked -= 1
        if self._asked < _PULL_MESSAGES // 2:
            self._changed.set()
        position = position_of(message)
        is_old = position < self.place.position or (
            position == self.place.position and self.is_proven
        )
        if position > 0 and is_old:
            return
        self.messages.append((position, message))
        self._arrived()

    def _receive_status(self, status: str, headers: dict[str, str]) -> None:
        match status:
            case "100":
                return
            case "408":
                self._asked -= int(headers.get("Nats-Pending-Messages", self._asked))
            case "409" if headers.get("Description") in _ENDS_OF_A_REQUEST:
                self._asked -= int(headers.get("Nats-Pending-Messages", "0"))
            case _:
                log.info("subscriber.broken", status=status, words=headers.get("Description"))
                self._broken = True
        self._changed.set()

    async def _find_end(self, client: Client) -> Place:
        """The place of the last message there is."""
        generation, waiting = await self._consumer.make_newest(
            client, self.place.generation, AT_THE_END
        )
        if waiting == 0:
            return replace(BEGINNING, generation=generation)
        last = await self._consumer.pull_one(client, generation)
        try:
            event = read_message(last, position_of(last))
        except (NotAnEvent, UnknownEvent):
            return Place(position=Position(stream_sequence_of(last)), generation=generation)
        return Place(
            position=event.position,
            chain=event.chain,
            workspace_sequence=event.workspace_sequence,
            generation=generation,
        )

    async def _watch_for_newer(self, client: Client, generation: int) -> None:
        """Break the delivery when the log has gone on in another stream."""
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            with suppress(nats.errors.Error, TimeoutError, OSError):
                begin = at_position(self.place.position)
                if await self._consumer.make(client, generation + 1, begin) is not None:
                    self._broken = True
                    self._changed.set()
                    return


def _now() -> float:
    return asyncio.get_running_loop().time()
