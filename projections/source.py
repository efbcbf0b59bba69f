"""Where a projector's next events come from: the log itself, or the JetStream stream.

The log always has them, and has them first. The stream spares Postgres the reading: it is followed
while one large round comes after the other, and otherwise nothing is pulled from it. Whatever the
stream lacks, repeats or gets wrong is seen by its positions and read from the log.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from msgspec.structs import replace
from nats.aio.client import Client

from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from events.pace import Pace
from events.subscriber import CustomerSubscriber, Place
from projections.checkpoint import Checkpoint
from projections.customers import LogEvent
from projections.opening import open_events
from runtime.waiting import is_set_within

BATCH_MAX: Final = 1000
SILENT_SECONDS: Final = 0.1
# While NATS rings nobody, the log is looked at more often if there was something lately.
_BUSY_POLL_SECONDS: Final = 0.02
_BUSY_UNTIL_SECONDS: Final = 1.0
# A round that brings LARGE events or more is large, one with fewer than _SMALL is small. Once
# LARGE_ROUNDS more were large than small the stream is followed, until as many more were small: an
# event from the stream costs the projector somewhat more, and Postgres nothing.
LARGE: Final = 50
LARGE_ROUNDS: Final = 3
_SMALL: Final = 20
_GATHER_SECONDS_MAX: Final = 0.02
_DISTRUST_SECONDS: Final = 10.0

log = structlog.get_logger()


class GenerationChanged(Exception):
    """The log goes on in another lineage than the checkpoint's."""


class Source:
    """The events behind a checkpoint, for one projector; `client` raises while NATS is away."""

    def __init__(self, client: Callable[[], Client], keyring: Keyring, log_id: int) -> None:
        self._keyring = keyring
        self._wake = asyncio.Event()
        self._subscriber = CustomerSubscriber(client, log_id=log_id, wake=self._wake)
        self._appended = Position(0)
        self._last_at = 0.0
        self._pace = Pace(_GATHER_SECONDS_MAX)
        self._is_following = False
        self._large_rounds = 0
        self._distrusted_until = 0.0
        self.is_live = False
        """Whether the end of the log was reached."""

    async def run(self) -> None:
        """Keep the stream delivering; runs until cancelled."""
        while True:
            try:
                await self._subscriber.run()
            except Exception:
                log.exception("projector.stream_failed")
                await asyncio.sleep(_DISTRUST_SECONDS)

    def appended(self, position: Position) -> None:
        """Somebody says that the log has come to this position."""
        self._appended = max(self._appended, position)
        self._wake.set()

    def start_over(self) -> None:
        """Begin with the log again: the next checkpoint may be anywhere."""
        self.is_live = False
        self._appended = Position(0)
        self._large_rounds = 0
        self._follow(None)

    def distrust(self) -> None:
        """The stream holds what the log does not: leave it alone for a while."""
        log.warning("projector.stream_differs_from_log")
        self._distrusted_until = _now() + _DISTRUST_SECONDS
        self.start_over()

    async def next(self, reader: LogReader, checkpoint: Checkpoint) -> list[LogEvent]:
        """The events right behind the checkpoint; none when there were none for a moment.

        Raises GenerationChanged.
        """
        if not self.is_live:
            return await self._catch_up(reader, checkpoint)
        position = checkpoint.position
        await self._gather(position)
        self._wake.clear()
        self._subscriber.skip_to(_place_of(checkpoint))
        events: list[LogEvent] = [*self._subscriber.take(BATCH_MAX)]
        if not events and self._is_log_better(position):
            events = await self._read(reader, position)
            if not events and self._subscriber.trouble is not None:
                self.distrust()
        if not events and await self._was_silent():
            events = await self._look(reader, checkpoint)
        if events:
            self._note(len(events))
            self._choose(len(events), checkpoint, events[-1])
        return events

    async def _catch_up(self, reader: LogReader, checkpoint: Checkpoint) -> list[LogEvent]:
        events = await self._read(reader, checkpoint.position)
        if len(events) < BATCH_MAX:
            self.is_live = True
        if events:
            self._note(len(events))
        return events

    async def _read(self, reader: LogReader, position: Position) -> list[LogEvent]:
        keyed = await reader.read_after(position, BATCH_MAX)
        if len(keyed) == BATCH_MAX:
            # Too far behind for the stream: it would deliver what the log has given long since.
            self.start_over()
        return open_events(self._keyring, keyed)

    async def _was_silent(self) -> bool:
        was_busy = _now() - self._last_at < _BUSY_UNTIL_SECONDS
        seconds = _BUSY_POLL_SECONDS if was_busy else SILENT_SECONDS
        return not await is_set_within(self._wake, seconds)

    async def _look(self, reader: LogReader, checkpoint: Checkpoint) -> list[LogEvent]:
        head = await reader.head()
        if head.generation != checkpoint.generation:
            raise GenerationChanged
        if head.position > checkpoint.position:
            return await self._read(reader, checkpoint.position)
        return []

    def _has_more(self, position: Position) -> bool:
        return self._appended > position or self._subscriber.has_some

    def _is_log_better(self, position: Position) -> bool:
        if self._subscriber.trouble is not None:
            return True
        behind = self._appended - position
        is_silent = _now() - self._subscriber.heard_at > SILENT_SECONDS
        return behind > 0 and (not self._is_following or behind > BATCH_MAX or is_silent)

    async def _gather(self, position: Position) -> None:
        """Let more come together while more keeps coming."""
        seconds = self._pace.seconds()
        if seconds > 0 and self._has_more(position):
            await asyncio.sleep(seconds)

    def _note(self, size: int) -> None:
        self._last_at = _now()
        self._pace.note(size, self._last_at)

    def _choose(self, size: int, checkpoint: Checkpoint, last: LogEvent) -> None:
        """Follow the stream from here on, or no longer: as the last rounds were large or small."""
        if size >= LARGE:
            self._large_rounds = min(LARGE_ROUNDS, self._large_rounds + 1)
        elif size < _SMALL:
            self._large_rounds = max(0, self._large_rounds - 1)
        if self._is_following and self._large_rounds == 0:
            self._follow(None)
        elif (
            self.is_live
            and not self._is_following
            and self._large_rounds == LARGE_ROUNDS
            and _now() >= self._distrusted_until
        ):
            place = replace(_place_of(checkpoint), position=last.position, chain=last.chain)
            self._follow(place)

    def _follow(self, place: Place | None) -> None:
        self._is_following = place is not None
        self._subscriber.follow(place)


def _place_of(checkpoint: Checkpoint) -> Place:
    return Place(
        position=checkpoint.position, chain=checkpoint.chain, generation=checkpoint.generation
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
