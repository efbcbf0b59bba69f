"""Reads the JetStream stream of a log: a pull consumer of its own, so that messages stream in.

        ┌───────────── broken, reconnected, consumer or stream gone ◄────────────┐
        ▼                                                                        │
    make a consumer behind the wanted position ──► keep a pull request open ─────┘

Nothing here is relied upon: what does not arrive, arrives twice or makes no sense is noticed by
its position, and the log has it. So no message is acknowledged, and no loss is repaired here.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec
import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from events import codec
from events.cloudevents import CloudEvent
from events.envelope import CustomerId, Position, RecordedEvent, StreamVersion, WorkspaceId
from events.errors import UnknownEvent
from events.jetstream import CHAIN_HEADER, DIGEST_HEADER, POSITION_HEADER, stream_name

BUFFERED_MAX: Final = 2000
_PULL_MESSAGES: Final = 1000
_PULL_SECONDS: Final = 30.0
_HEARTBEAT_SECONDS: Final = 2.0
_LOST_SECONDS: Final = 3 * _HEARTBEAT_SECONDS
_RETRY_SECONDS: Final = 1.0
_REQUEST_SECONDS: Final = 2.0
_INACTIVE_SECONDS: Final = 30.0

_decoder: Final = msgspec.json.Decoder(CloudEvent)
log = structlog.get_logger()


class _Start(Struct, frozen=True, kw_only=True):
    """From where events are wanted."""

    generation: int
    after: Position


class JetStreamSource:
    """Events as the stream delivers them, behind a position and in order, for one reader.

    `client` raises nats.errors.Error while NATS is away. `arrived` is called for each message that
    is new to the reader.
    """

    def __init__(
        self, client: Callable[[], Client], log_id: int, arrived: Callable[[], None]
    ) -> None:
        self._client = client
        self._log_id = log_id
        self._arrived = arrived
        self._start: _Start | None = None
        self._seen = Position(0)
        self._buffer: deque[tuple[Position, Msg]] = deque()
        self._asked = 0
        self._broken = False
        self._changed = asyncio.Event()
        self.heard_at = 0.0
        """Event loop time of the last sign of life of the stream, new to the reader or not."""

    def follow(self, generation: int, after: Position) -> None:
        """Deliver the events behind this position from now on."""
        self._restart(_Start(generation=generation, after=after))
        self._seen = after

    def pause(self) -> None:
        """Deliver nothing until the next `follow`."""
        self._restart(None)

    def take(self, after: Position, limit: int) -> list[RecordedEvent]:
        """The events that arrived and stand right behind this position without a gap."""
        self._seen = max(self._seen, after)
        self._drop_until(after)
        events: list[RecordedEvent] = []
        while self._buffer and len(events) < limit:
            position, message = self._buffer[0]
            if position != after + 1:
                break
            self._buffer.popleft()
            try:
                events.append(_recorded(position, message))
            except (msgspec.DecodeError, UnicodeDecodeError, UnknownEvent, KeyError, ValueError):
                # The log has it too, and its reader knows what to do about it.
                break
            after = position
        self._changed.set()
        return events

    def has_some(self, after: Position) -> bool:
        """Whether anything behind this position has arrived."""
        return bool(self._buffer) and self._buffer[-1][0] > after

    def has_gap(self, after: Position) -> bool:
        """Whether the stream went on without the event behind this position."""
        return bool(self._buffer) and self._buffer[0][0] > after + 1

    async def run(self) -> None:
        """Deliver for ever, through every loss of NATS or of the stream."""
        is_told = False
        while True:
            start = self._start
            if start is None:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                await self._deliver(start)
                is_told = False
            except (nats.errors.Error, TimeoutError, OSError) as error:
                if not is_told:
                    log.info("subscriber.waits", error=str(error) or type(error).__name__)
                is_told = True
                await asyncio.sleep(_RETRY_SECONDS)

    async def _deliver(self, start: _Start) -> None:
        """Have one consumer deliver until it is broken or something else is wanted."""
        client = self._client()
        reconnects = client.stats["reconnects"]
        stream = stream_name(self._log_id, start.generation)
        self._buffer.clear()
        self._asked, self._broken = 0, False
        jetstream = client.jetstream(timeout=_REQUEST_SECONDS)
        consumer = await jetstream.add_consumer(
            stream, _consumer_config(Position(max(start.after, self._seen)))
        )
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox, cb=self._receive)
        request = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer.name}"
        self.heard_at = asyncio.get_running_loop().time()
        try:
            while self._start is start and not self._is_lost(client, reconnects):
                await self._keep_pulling(client, request, inbox)
        finally:
            # What cannot be tidied up now ends by itself when nobody pulls.
            with suppress(nats.errors.Error, TimeoutError, OSError):
                if client.is_connected:
                    await subscription.unsubscribe()
                    await jetstream.delete_consumer(stream, consumer.name)

    async def _keep_pulling(self, client: Client, request: str, inbox: str) -> None:
        missing = _PULL_MESSAGES - self._asked
        if missing >= _PULL_MESSAGES // 2 and len(self._buffer) + missing <= BUFFERED_MAX:
            self._asked += missing
            await client.publish(request, _pull_request(missing), reply=inbox)
        self._changed.clear()
        try:
            async with asyncio.timeout(_HEARTBEAT_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return

    def _is_lost(self, client: Client, reconnects: int) -> bool:
        silent = asyncio.get_running_loop().time() - self.heard_at
        return (
            self._broken
            or not client.is_connected
            # The pull request went down with the old connection.
            or client.stats["reconnects"] != reconnects
            or (self._asked > 0 and silent > _LOST_SECONDS)
        )

    async def _receive(self, message: Msg) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        headers = message.headers or {}
        status = headers.get("Status")
        if status is not None and not message.reply:
            self._receive_status(status, headers)
            return
        self._asked -= 1
        if self._asked < _PULL_MESSAGES // 2:
            self._changed.set()
        position = Position(int(headers.get(POSITION_HEADER, "0")))
        if position > self._seen:
            self._buffer.append((position, message))
            self._arrived()

    def _receive_status(self, status: str, headers: dict[str, str]) -> None:
        match status:
            case "100":
                return
            case "408":
                self._asked -= int(headers.get("Nats-Pending-Messages", self._asked))
            case _:
                self._broken = True
        self._changed.set()

    def _restart(self, start: _Start | None) -> None:
        self._start = start
        self._buffer.clear()
        self._changed.set()

    def _drop_until(self, after: Position) -> None:
        while self._buffer and self._buffer[0][0] <= after:
            self._buffer.popleft()


def _consumer_config(after: Position) -> ConsumerConfig:
    return ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=after + 1,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=_INACTIVE_SECONDS,
        mem_storage=True,
        num_replicas=1,
    )


def _pull_request(messages: int) -> bytes:
    nanoseconds = 1_000_000_000
    return msgspec.json.encode(
        {
            "batch": messages,
            "expires": int(_PULL_SECONDS * nanoseconds),
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * nanoseconds),
        }
    )


def _recorded(position: Position, message: Msg) -> RecordedEvent:
    headers = message.headers or {}
    body = _decoder.decode(message.data)
    schema_version = int(body.dataschema.rpartition("/")[2])
    data = bytes(body.data)
    return RecordedEvent(
        position=position,
        workspace_id=WorkspaceId(body.workspace),
        workspace_sequence=int(body.sequence),
        stream_id=CustomerId(body.subject),
        stream_version=StreamVersion(body.streamversion),
        event_id=body.id,
        type=body.type,
        schema_version=schema_version,
        recorded_at=datetime.fromisoformat(body.time),
        digest=bytes.fromhex(headers[DIGEST_HEADER]),
        chain=bytes.fromhex(headers[CHAIN_HEADER]),
        # A stream that was made again holds no data where a customer was erased.
        event=None if data == b"null" else codec.decode(body.type, schema_version, data),
    )
