"""The relay: copies the log into its JetStream stream, so that message p is log event p.

        ┌────────── resume: compare the stream's end with the log ◄──────────┐
        ▼                       │                                            │
    publish batches      differs, or is ahead           refused, no answer, reconnected
        │                       ▼                                            │
        └─ wait for a ping   stopped: publish nothing, say why, look again   │
        └────────────────────────────────────────────────────────────────────┘

The broker refuses a batch that does not stand exactly behind the stream's end, so a second relay,
or a batch sent twice, changes nothing. The advisory lock only saves the second one the work.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Literal, cast

import nats.errors
import psycopg
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events import jetstream
from events.append import Head, KeyedEvent
from events.batches import WRONG_LAST_SEQUENCE, Message, PublishError, publish_batch
from events.cloudevents import CONTENT_TYPE, render_cloud_event, traceparent_of
from events.envelope import Position
from events.errors import EventsError, StreamContradiction
from events.keys import Keyring
from events.log import LogReader
from events.reading import open_stored
from runtime.logs import harmless_message

POLL_SECONDS: Final = 1.0
PUBLISH_SECONDS: Final = 3.0
# Each batch costs a few milliseconds however small it is: the fuller the last one was, the longer
# the next one is gathered.
GATHER_SECONDS_PER_EVENT: Final = 0.0005
GATHER_SECONDS_MAX: Final = 0.025
_STALLED_CHECKS: Final = 3
_LOCK: Final = 730_542

log = structlog.get_logger()

RelayCondition = Literal["starting", "publishing", "standing by", "stopped", "no connection"]


class RelayState(Struct, frozen=True, kw_only=True):
    """What a relay says of itself: its condition, in words too, and the stream's last sequence."""

    condition: RelayCondition = "starting"
    words: str = ""
    sequence: int = 0


class Relay:
    """Publishes one log; runs until its task is cancelled.

    `client` raises nats.errors.Error while NATS is away.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection[TupleRow]]],
        client: Callable[[], Client],
        keyring: Keyring,
        *,
        log_id: int,
        replicas: int,
        public_url: str,
    ) -> None:
        self._connect = connect
        self._client = client
        self._keyring = keyring
        self._log_id = log_id
        self._replicas = replicas
        self._public_url = public_url
        self._wake = asyncio.Event()
        self.state = RelayState()

    def wake(self) -> None:
        """Something was appended, or the connection came back: look now instead of polling."""
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
        reader = LogReader(connection, self._log_id)
        while True:
            try:
                await self._await_turn(connection, reader)
                await self._publish_from(reader, await self._resume(reader))
            except EventsError as error:
                await self._rest("stopped", str(error))
            except PublishError as error:
                if error.code not in WRONG_LAST_SEQUENCE:
                    await self._rest("no connection", str(error))
            except (nats.errors.Error, APIError, TimeoutError, OSError) as error:
                await self._rest("no connection", f"NATS does not answer: {_words(error)}")
            except psycopg.OperationalError:
                raise
            except Exception as error:
                # The cause may go away by itself, as a migration that is still to come does.
                if self.state.condition != "stopped":
                    log.exception("relay.stopped")
                await self._rest("stopped", f"{type(error).__name__}: {harmless_message(error)}")

    async def _await_turn(self, connection: AsyncConnection[TupleRow], reader: LogReader) -> None:
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
            now = await self._last_sequence(head.generation)
            stalled = stalled + 1 if now == sequence and now < head.position else 0
            sequence = now
            self._note("standing by", now, "another relay publishes")
            # Not woken by pings: three looks in a row must be seconds apart to mean anything.
            await asyncio.sleep(POLL_SECONDS)
        log.warning("relay.takes_over", sequence=sequence)

    async def _resume(self, reader: LogReader) -> Head:
        """The end of the stream, once it is proven to be a place of the log."""
        generation = (await reader.head()).generation
        name = jetstream.stream_name(self._log_id, generation)
        try:
            info = await self._stream.stream_info(name)
        except NotFoundError:
            config = jetstream.stream_config(self._log_id, generation, self._replicas)
            info = await self._stream.add_stream(config)
            log.info("relay.stream_created", stream=name)
        # The log is asked after the stream: it can only have grown since.
        head = await reader.head()
        sequence = info.state.last_seq
        if sequence > head.position:
            raise StreamContradiction(
                f"JetStream stream {name} ends at {sequence}, the log at {head.position}: the "
                "database was restored to an earlier point, or somebody else published. "
                "Nothing is published until a person decides which one is right."
            )
        if info.state.messages != sequence:
            raise StreamContradiction(
                f"JetStream stream {name} ends at {sequence} but holds {info.state.messages} "
                "messages: somebody deleted or purged some. Delete the stream, and it is filled "
                "again from the log."
            )
        if sequence > 0:
            subjects = f"customers.{self._log_id}.{generation}.>"
            await self._compare(reader, name, await self._stream.get_last_msg(name, subjects))
        self._note("publishing", sequence)
        return Head(generation=head.generation, position=Position(sequence), chain=head.chain)

    async def _compare(self, reader: LogReader, name: str, last: RawStreamMsg) -> None:
        sequence = last.seq or 0
        events = await reader.read_after(Position(sequence - 1), 1)
        headers = cast(dict[str, str], last.headers or {})
        if not events or headers.get(jetstream.DIGEST_HEADER) != events[0].stored.digest.hex():
            raise StreamContradiction(
                f"Message {sequence} of JetStream stream {name} is not event {sequence} of the "
                "log: the database was restored to an earlier point, or somebody else published. "
                "Nothing is published until a person decides which one is right."
            )

    async def _publish_from(self, reader: LogReader, head: Head) -> None:
        name = jetstream.stream_name(self._log_id, head.generation)
        position = head.position
        while True:
            self._wake.clear()
            events = await reader.read_after(position, jetstream.MESSAGES_PER_BATCH_MAX)
            if not events:
                await self._wait(POLL_SECONDS)
                if (await reader.head()).generation != head.generation:
                    return
                if await self._last_sequence(head.generation) != position:
                    # Lost or deleted while nothing was written: compare, and fill it again.
                    return
                continue
            messages = [self._message(keyed, head.generation) for keyed in events]
            sequence = await publish_batch(
                self._client(), name, messages, last_sequence=position, wait_seconds=PUBLISH_SECONDS
            )
            if sequence != events[-1].stored.position:
                raise StreamContradiction(
                    f"JetStream stored event {events[-1].stored.position} at {sequence}."
                )
            position = events[-1].stored.position
            self._note("publishing", position)
            gather = min(GATHER_SECONDS_MAX, GATHER_SECONDS_PER_EVENT * (len(events) - 1))
            if len(events) < jetstream.MESSAGES_PER_BATCH_MAX and gather > 0:
                await asyncio.sleep(gather)

    def _message(self, keyed: KeyedEvent, generation: int) -> Message:
        event = keyed.stored
        data = open_stored(self._keyring, keyed)
        headers = {
            "Content-Type": CONTENT_TYPE,
            jetstream.POSITION_HEADER: str(event.position),
            jetstream.DIGEST_HEADER: event.digest.hex(),
            jetstream.CHAIN_HEADER: event.chain.hex(),
        }
        traceparent = traceparent_of(event)
        if traceparent is not None:
            headers[jetstream.TRACE_HEADER] = traceparent
        return Message(
            subject=jetstream.event_subject(
                self._log_id, generation, event.workspace_id, event.stream_id, event.type
            ),
            # An erased event keeps its place in a stream that is made again, without its data.
            body=render_cloud_event(event, b"null" if data is None else data, self._public_url),
            headers=headers,
        )

    @property
    def _stream(self) -> JetStreamContext:
        return self._client().jetstream(timeout=PUBLISH_SECONDS)

    async def _last_sequence(self, generation: int) -> int:
        try:
            info = await self._stream.stream_info(jetstream.stream_name(self._log_id, generation))
        except NotFoundError:
            return 0
        return info.state.last_seq

    def _note(self, condition: RelayCondition, sequence: int, words: str = "") -> None:
        if condition != self.state.condition:
            log.info("relay.condition", condition=condition, words=words, sequence=sequence)
        self.state = RelayState(condition=condition, words=words, sequence=sequence)

    async def _rest(
        self, condition: RelayCondition, words: str, *, sequence: int | None = None
    ) -> None:
        self._note(condition, self.state.sequence if sequence is None else sequence, words)
        self._wake.clear()
        await self._wait(POLL_SECONDS)

    async def _wait(self, seconds: float) -> None:
        # Not wait_for: in Python 3.11 it may swallow a cancellation that meets the wake-up.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
