"""Messages of a log's stream as they come: a pull consumer of our own, kept alive or made again.

        ┌────── broken, reconnected, consumer or stream gone, newer generation ◄────┐
        ▼                                                                           │
    make a consumer at the place, in the newest generation ──► keep a pull request open

Nothing here is relied upon: no message is acknowledged, and no loss is noticed or repaired here.
It asks for no more rights than to make, to pull and to delete one consumer by name and subject.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import cycle
from typing import Final

import nats.errors
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg

from events.consumer import (
    AT_THE_END,
    GENERATIONS_AHEAD,
    HEARTBEAT_SECONDS,
    PullConsumer,
    at_position,
)
from events.envelope import Position
from events.errors import UnknownEvent
from events.messages import NotAnEvent, position_of, read_message
from events.place import BEGINNING, Now, Place
from runtime.tasks import end
from runtime.waiting import is_set_within

_BUFFERED_MAX: Final = 2000
_PULL_MESSAGES: Final = 1000
_LOST_SECONDS: Final = 3 * HEARTBEAT_SECONDS
# Of the statuses 409, these say that a pull request is over and not that the consumer is.
_ENDS_OF_A_REQUEST: Final = frozenset(("Batch Completed", "Message Size Exceeds MaxBytes"))
_RETRY_SECONDS: Final = 1.0
_PROBE_SECONDS: Final = 2.0

# Whoever subscribes may run without structlog; a library prints nothing unless it is told to.
log = logging.getLogger("customers.subscriber")


class Delivery:
    """Messages from a place on, of the newest generation there is, for one reader.

    The reader takes `messages` from the left, tells how far it is (`advance`, `prove`), and calls
    `taken`.
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
        self._place = BEGINNING
        self._messages: deque[tuple[Position, Msg]] = deque()
        self._generation = 0
        # Counts the consumers: what the last one had on its way is not the next one's.
        self._number = 0
        self._is_proven = False
        self._heard_at = 0.0

    @property
    def place(self) -> Place:
        """Behind it events are wanted; a new consumer begins at it."""
        return self._place

    @property
    def messages(self) -> deque[tuple[Position, Msg]]:
        """With the positions at which they stand."""
        return self._messages

    @property
    def generation(self) -> int:
        """The lineage that the messages are of."""
        return self._generation

    @property
    def is_proven(self) -> bool:
        """Whether this consumer has shown that its stream holds what was read up to `place`."""
        return self._is_proven

    @property
    def heard_at(self) -> float:
        """Event loop time of the last sign of life of the stream."""
        return self._heard_at

    @property
    def stream(self) -> str:
        """The name of the stream that the messages are of, or ought to be."""
        return self._consumer.stream(self._generation or self._place.generation)

    @property
    def knows_its_place(self) -> bool:
        """Whether it is known where to begin: at once, unless it is at the end of the stream."""
        return not isinstance(self._start, Now)

    def follow(self, start: Place | Now | None) -> None:
        """Deliver from here on from now on; nothing for None."""
        self._start = start
        if isinstance(start, Place):
            self._place = start
        self._turn += 1
        self._messages.clear()
        self._changed.set()

    def advance(self, place: Place) -> None:
        """The reader has come to this place."""
        self._place = place

    def prove(self) -> None:
        """The reader has seen that the stream holds what was read before."""
        self._is_proven = True

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
                    log.info("waits for JetStream: %s", str(error) or type(error).__name__)
                is_told = True
                await asyncio.sleep(_RETRY_SECONDS)

    async def _deliver(self, turn: int) -> None:
        """Have one consumer deliver until it is broken or something else is wanted."""
        client = self._client()
        reconnects = client.stats["reconnects"]
        if isinstance(self._start, Now):
            last = await self._find_end(client)
            if self._turn != turn:
                return
            self._start = self._place = last
            self._arrived()
        generation, waiting = await self._consumer.make_newest(
            client, self._place.generation, at_position(self._place.position)
        )
        if self._turn != turn:
            return
        if waiting == 0 and generation > self._place.generation:
            stream, position = self._consumer.stream(generation), self._place.position
            log.warning("stream %s has nothing yet from position %s on", stream, position)
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=self._begin(generation))
        probing = asyncio.create_task(self._watch_for_newer(client, generation))
        try:
            while self._turn == turn and not self._is_lost(client, reconnects):
                await self._keep_pulling(client, generation, inbox)
        finally:
            self._number += 1
            await end(probing)
            # What cannot be tidied up now ends by itself when nobody pulls.
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await subscription.unsubscribe()
                # A broken one is gone, and one of its name would be somebody else's.
                if client.is_connected and not self._broken:
                    await self._consumer.delete(client, generation)

    def _begin(self, generation: int) -> Callable[[Msg], Awaitable[None]]:
        if self._generation not in {0, generation}:
            log.info("goes on in stream %s", self._consumer.stream(generation))
        self._messages.clear()
        self._number += 1
        self._generation = generation
        self._is_proven = self._place.position == 0
        self._asked, self._broken = 0, False
        self._heard_at = _now()
        number = self._number

        async def receive(message: Msg) -> None:
            # What an earlier consumer still had on its way would be out of order.
            if self._number == number:
                self._receive(message)

        return receive

    async def _keep_pulling(self, client: Client, generation: int, inbox: str) -> None:
        missing = _PULL_MESSAGES - self._asked
        has_room = len(self._messages) + _PULL_MESSAGES <= _BUFFERED_MAX
        if has_room and missing >= _PULL_MESSAGES // 2:
            self._asked += missing
            await self._consumer.pull(client, generation, inbox, missing)
        self._changed.clear()
        await is_set_within(self._changed, HEARTBEAT_SECONDS)

    def _is_lost(self, client: Client, reconnects: int) -> bool:
        return (
            self._broken
            or not client.is_connected
            # The pull request went down with the old connection.
            or client.stats["reconnects"] != reconnects
            or (self._asked > 0 and _now() - self._heard_at > _LOST_SECONDS)
        )

    def _receive(self, message: Msg) -> None:
        self._heard_at = _now()
        headers = message.headers or {}
        status = headers.get("Status")
        if status is not None and not message.reply:
            self._receive_status(status, headers)
            return
        try:
            position = position_of(message)
        except NotAnEvent:
            # Of no stream: somebody published it to where we listen.
            return
        self._asked -= 1
        if self._asked < _PULL_MESSAGES // 2:
            self._changed.set()
        if position < self._place.position or (
            position == self._place.position and self._is_proven
        ):
            return
        self._messages.append((position, message))
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
                log.info("lost its consumer: %s %s", status, headers.get("Description"))
                self._broken = True
        self._changed.set()

    async def _find_end(self, client: Client) -> Place:
        """The place of the last message there is."""
        generation, waiting = await self._consumer.make_newest(
            client, self._place.generation, AT_THE_END
        )
        if waiting == 0:
            return replace(BEGINNING, generation=generation)
        last = await self._consumer.pull_one(client, generation)
        try:
            event = read_message(last, position_of(last))
        except (NotAnEvent, UnknownEvent):
            return Place(position=position_of(last), generation=generation)
        return Place(
            position=event.position,
            chain=event.chain,
            workspace_sequence=event.workspace_sequence,
            generation=generation,
        )

    async def _watch_for_newer(self, client: Client, generation: int) -> None:
        """Break the delivery when the log has gone on in another stream."""
        # Most likely in the next one: each of the others is asked for in its turn.
        for further in cycle(range(2, GENERATIONS_AHEAD + 1)):
            await asyncio.sleep(_PROBE_SECONDS)
            with suppress(nats.errors.Error, TimeoutError, OSError):
                begin = at_position(self._place.position)
                for newer in (generation + 1, generation + further):
                    if await self._consumer.make(client, newer, begin) is not None:
                        self._broken = True
                        self._changed.set()
                        return


def _now() -> float:
    return asyncio.get_running_loop().time()
