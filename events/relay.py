"""The relay: copies the log into its JetStream stream, so that message p is log event p.

        ┌────────── resume: compare the stream's end with the log ◄──────────┐
        ▼                       │                                            │
    publish batches      differs, or is ahead           refused, no answer, reconnected
        │                       ▼                                            │
        └─ wait for a ping   stopped: publish nothing, say why, look again   │
        └────────────────────────────────────────────────────────────────────┘

The broker refuses what does not stand exactly behind the stream's end, so a second relay, or a
batch sent twice, changes nothing. The advisory lock only saves the second one the work.
Between batches it audits what the stream holds already: "damaged" is a relay that publishes on
into a stream in which something further in is missing or was changed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Literal

import nats.errors
import psycopg
import structlog
from msgspec import Struct, structs
from nats.aio.client import Client
from nats.js.errors import APIError
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.batches import WRONG_LAST_SEQUENCE, Message, Publisher, PublishError
from events.chain import next_chain
from events.envelope import Position
from events.errors import EventsError, MessageTooLarge, StreamContradiction
from events.jetstream import MESSAGES_PER_BATCH_MAX
from events.pace import Pace
from events.relay_log import RelayLog
from events.rendering import Prepared, Renderer
from events.stream_check import StreamCheck, StreamEnd
from runtime.logs import harmless_message
from runtime.tasks import end as end_tasks
from runtime.waiting import is_set_within
from runtime.words import limit_warning, one_line

_POLL_SECONDS: Final = 1.0
_PUBLISH_SECONDS: Final = 3.0
AUDIT_SECONDS: Final = 30.0
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""What is read, kept in memory and sent at once, give or take one event."""

_GATHER_SECONDS_MAX: Final = 0.05
_STALLED_CHECKS: Final = 3
_LOCK: Final = 730_542

log = structlog.get_logger()

RelayCondition = Literal[
    "starting",
    "publishing",
    "damaged",
    "standing by",
    "stopped",
    "no connection",
    "erasures wait",
    "not signing",
]


class RelayState(Struct, frozen=True, kw_only=True):
    """What a relay says of itself: its condition, in words too, and the stream's last sequence."""

    condition: RelayCondition = "starting"
    words: str = ""
    sequence: int = 0


def _ignore(_messages: Sequence[Message], _seconds: float) -> None:
    return None


class Relay:
    """Publishes one log; runs until its task is cancelled.

    `client` raises nats.errors.Error while NATS is away. `message_max` is what the API believes
    that NATS takes in one message. `on_published` is told what was published at once, and how many
    seconds that took.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection[TupleRow]]],
        client: Callable[[], Client],
        renderer: Renderer,
        *,
        replicas: int,
        message_max: int,
        audit_seconds: float = AUDIT_SECONDS,
        on_published: Callable[[Sequence[Message], float], None] = _ignore,
    ) -> None:
        self._connect = connect
        self._client = client
        self._renderer = renderer
        self._log_id = renderer.log_id
        self._message_max = message_max
        self._audit_seconds = audit_seconds
        self._on_published = on_published
        self._check = StreamCheck(client, renderer, replicas=replicas)
        self._publisher = Publisher(client)
        self._pace = Pace(_GATHER_SECONDS_MAX)
        self._audit_at = self._ask_again_at = 0.0
        self._damage = self._unseen = ""
        self._wake = asyncio.Event()
        self._appended = Position(0)
        self._is_told_to_look = True
        self.state = RelayState()

    def appended(self, position: Position) -> None:
        """Somebody says that the log has come to this position: look now instead of polling."""
        self._appended = max(self._appended, position)
        self._wake.set()

    def wake(self) -> None:
        """Something may have been appended, or the connection came back: look now."""
        self._is_told_to_look = True
        self._wake.set()

    async def run(self) -> None:
        """Publish for ever, through every loss of the database or of NATS."""
        while True:
            try:
                connection = await self._connect()
            except psycopg.OperationalError as error:
                await self._rest("no connection", f"the database is away: {type(error).__name__}")
                continue
            async with connection:
                try:
                    await self._serve(connection)
                except psycopg.OperationalError as error:
                    words = f"the database went away: {type(error).__name__}"
                    await self._rest("no connection", words)

    async def _serve(self, connection: AsyncConnection[TupleRow]) -> None:
        reader = RelayLog(connection, self._log_id)
        while True:
            try:
                await self._await_turn(connection, reader)
                end = await self._check.find_end(reader)
                self._audit_at = 0.0
                await self._publish_from(reader, end)
            except MessageTooLarge as error:
                await self._ask_limit_again()
                await self._rest("stopped", str(error))
            except EventsError as error:
                await self._rest("stopped", str(error))
            except PublishError as error:
                if error.code not in WRONG_LAST_SEQUENCE:
                    await self._rest("no connection", str(error))
            except (nats.errors.Error, APIError, TimeoutError, OSError) as error:
                await self._rest("no connection", f"NATS does not answer: {one_line(error)}")
            except psycopg.OperationalError:
                raise
            except Exception as error:
                # The cause may go away by itself, as a migration that is still to come does.
                if self.state.condition != "stopped":
                    log.exception("relay.stopped")
                await self._rest("stopped", f"{type(error).__name__}: {harmless_message(error)}")

    async def _await_turn(self, connection: AsyncConnection[TupleRow], reader: RelayLog) -> None:
        """Return when no other relay holds the lock, or when the one that does has stalled."""
        stalled = 0
        sequence = -1
        while stalled < _STALLED_CHECKS:
            cursor = await connection.execute(
                "SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, self._log_id]
            )
            row = await cursor.fetchone()
            if row is not None and row[0]:
                return
            head = await reader.head()
            now = await self._check.last_sequence(head.generation)
            stalled = stalled + 1 if now == sequence and now < head.position else 0
            sequence = now
            self._note("standing by", now, "another relay publishes")
            # Not woken by pings: three looks in a row must be seconds apart to mean anything.
            await asyncio.sleep(_POLL_SECONDS)
        log.warning("relay.takes_over", sequence=sequence)

    async def _publish_from(self, reader: RelayLog, end: StreamEnd) -> None:
        """Publish until the stream is no longer as it was left, or the log has moved on."""
        now = asyncio.get_running_loop().time
        ahead: Prepared | None = None
        look_at = now() + _POLL_SECONDS
        self._is_told_to_look = True
        while True:
            await self._audit_in_time(reader, end)
            self._wake.clear()
            batch = ahead or await self._look(reader, end)
            if batch is None:
                self._note_publishing(end.position)
                if await is_set_within(self._wake, _POLL_SECONDS):
                    # There is something to publish, and that is refused if the stream was lost.
                    continue
                self._is_told_to_look = True
            else:
                ahead = await self._publish(reader, end, batch)
                end = structs.replace(end, position=batch.last, chain=batch.chain)
                self._pace.note(len(batch.messages), now())
                if not batch.is_full:
                    await asyncio.sleep(self._pace.seconds())
            # However much is written: a new generation of the log has a stream of its own.
            if now() >= look_at:
                if not await self._is_as_left(reader, end):
                    return
                look_at = now() + _POLL_SECONDS

    async def _look(self, reader: RelayLog, end: StreamEnd) -> Prepared | None:
        """What is to be published, without a look at the log when nobody has rung for more."""
        if not self._is_told_to_look and self._appended <= end.position:
            return None
        self._is_told_to_look = False
        return await self._prepare(reader, end)

    async def _audit_in_time(self, reader: RelayLog, end: StreamEnd) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._audit_at:
            return
        self._audit_at = now + self._audit_seconds
        try:
            self._damage = await self._check.audit(reader, end)
            self._unseen = ""
        except Exception as error:
            # Publishing does not depend on it, and finds out by itself who is away.
            log.warning("relay.audit_failed", exc_info=error)
            self._unseen = (
                f"What JetStream stream {end.name} holds already could not be compared with the "
                f"log: {type(error).__name__}: {harmless_message(error)}"
            )

    async def _is_as_left(self, reader: RelayLog, end: StreamEnd) -> bool:
        """Whether this is still the log's stream, and none of it was lost while nobody wrote."""
        generation = (await reader.head()).generation
        return (
            generation == end.generation
            and await self._check.last_sequence(generation) == end.position
        )

    async def _prepare(self, reader: RelayLog, end: StreamEnd) -> Prepared | None:
        """What is to be published behind the end; None when that is all there is."""
        events = await reader.read_batch(end.position, MESSAGES_PER_BATCH_MAX, BATCH_BYTES_MAX)
        if not events:
            return None
        first = events[0].stored
        if next_chain(end.chain, first.digest) != first.chain:
            # Restored behind a connection that lives on, as one of a pooler does.
            raise StreamContradiction(
                f"Event {first.position} of the log does not follow the one that was published "
                "before it: the database was restored to an earlier point, or its log was changed."
            )
        size = sum(len(keyed.stored.payload) for keyed in events)
        return self._renderer.prepare(
            events,
            end.generation,
            self._client().max_payload,
            is_full=len(events) == MESSAGES_PER_BATCH_MAX or size >= BATCH_BYTES_MAX,
        )

    async def _publish(self, reader: RelayLog, end: StreamEnd, batch: Prepared) -> Prepared | None:
        """Publish a batch; what stands behind a full one is prepared until it is acknowledged."""
        if not batch.is_full:
            await self._store(end, batch)
            return None
        behind = structs.replace(end, position=batch.last, chain=batch.chain)
        preparing = asyncio.create_task(self._prepare(reader, behind))
        try:
            await self._store(end, batch)
            return await preparing
        except BaseException:
            # The connection to the database is for one task at a time.
            await end_tasks(preparing)
            raise

    async def _store(self, end: StreamEnd, batch: Prepared) -> None:
        """Store a batch behind the end: in one piece, or message by message when it is light."""
        now = asyncio.get_running_loop().time
        began = now()
        # Those behind a refused one may be stored; whoever finds the end then compares them all.
        sequence = await self._publisher.publish(
            end.name,
            batch.messages,
            last_sequence=end.position,
            wait_seconds=_PUBLISH_SECONDS,
            singly=batch.is_light,
        )
        if sequence != batch.last:
            raise StreamContradiction(f"JetStream stored event {batch.last} at {sequence}.")
        self._note_publishing(batch.last)
        self._on_published(batch.messages, now() - began)

    async def _ask_limit_again(self) -> None:
        """Have the client hear what the server takes now: it is told only when it connects."""
        now = asyncio.get_running_loop().time()
        if now >= self._ask_again_at:
            self._ask_again_at = now + self._audit_seconds
            with suppress(nats.errors.Error):
                await self._client().force_reconnect()

    def _note_publishing(self, position: Position) -> None:
        if self._damage:
            self._note("damaged", position, self._damage)
        else:
            words = limit_warning(self._client().max_payload, self._message_max)
            self._note("publishing", position, words or self._unseen)

    def _note(self, condition: RelayCondition, sequence: int, words: str = "") -> None:
        if (condition, words) != (self.state.condition, self.state.words):
            log.info("relay.condition", condition=condition, words=words, sequence=sequence)
        self.state = RelayState(condition=condition, words=words, sequence=sequence)

    async def _rest(self, condition: RelayCondition, words: str) -> None:
        self._note(condition, self.state.sequence, words)
        self._wake.clear()
        await is_set_within(self._wake, _POLL_SECONDS)
