"""Compares the JetStream stream of a log with the log: its end before publishing goes on, and
what stands before that from time to time.

The end decides whether to publish at all: when it is not a place of the log, one of the two is of
another history. What is missing or changed further in is damage in NATS' storage. It gets no
worse by publishing on, which still puts each event where it belongs; a person is told to have the
stream made again.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, StreamInfo
from nats.js.errors import NotFoundError

from events import jetstream
from events.append import KeyedEvent
from events.batches import Message
from events.chain import GENESIS
from events.envelope import Position
from events.errors import EventsError, StreamContradiction
from events.jetstream import headers_of
from events.relay_log import RelayLog
from events.rendering import LIGHT_MAX, Renderer

_REQUEST_SECONDS: Final = 3.0
_SAMPLES: Final = 16
_NO_MESSAGE: Final = 10037
"""Error code of the server: the stream is there, and has no such message."""

_DELETE: Final = "Delete the stream, and it is filled again from the log."
_UNDECIDED: Final = (
    "Nothing is published until a person decides which one is right. Is it the log: `customers "
    "relay new-generation` lets it go on in a stream of its own. Was the database restored too far "
    "back: restore a newer copy."
)

log = structlog.get_logger()


class StreamEnd(Struct, frozen=True, kw_only=True):
    """Where a stream ends that is a copy of the log so far."""

    name: str
    generation: int
    position: Position
    chain: bytes
    """The chain of the log there."""


class _State(Struct, frozen=True):
    first_seq: int
    last_seq: int
    deleted: list[int] | None = None


class _Info(Struct, frozen=True):
    state: _State | None = None


class StreamCheck:
    """Looks at the stream of one log; `client` raises nats.errors.Error while NATS is away."""

    def __init__(self, client: Callable[[], Client], renderer: Renderer, *, replicas: int) -> None:
        self._client = client
        self._renderer = renderer
        self._replicas = replicas
        self._accounted: frozenset[int] = frozenset()
        self._suspects: set[int] = set()

    async def find_end(self, reader: RelayLog) -> StreamEnd:
        """The end of the stream, proven to be a place of the log; makes a stream that is missing.

        Raises StreamContradiction.
        """
        generation = (await reader.head()).generation
        name = jetstream.stream_name(self._renderer.log_id, generation)
        state = (await self._stream_info(name, generation)).state
        last = await self._last_message(name, generation) if state.last_seq > 0 else None
        # Another relay may have published between the two answers.
        sequence = max(state.last_seq, 0 if last is None else last.seq or 0)
        # The log is asked after the stream: it can only have grown since.
        head = await reader.head()
        if sequence > head.position:
            raise StreamContradiction(
                f"JetStream stream {name} ends at {sequence}, the log at {head.position}: "
                f"the database was restored to an earlier point, or somebody else published. "
                f"{_UNDECIDED}"
            )
        chain = GENESIS
        if sequence > 0:
            chain = await self._compare_end(reader, name, sequence, last)
            await self._compare_before(reader, name, Position(sequence))
        # A stream that was made again has none of the faults of the one before.
        self._accounted, self._suspects = frozenset(), set()
        position = Position(sequence)
        return StreamEnd(name=name, generation=generation, position=position, chain=chain)

    async def last_sequence(self, generation: int) -> int:
        """The last sequence of the stream; 0 when there is none."""
        name = jetstream.stream_name(self._renderer.log_id, generation)
        try:
            return (await self._stream.stream_info(name)).state.last_seq
        except NotFoundError:
            return 0

    async def audit(self, reader: RelayLog, end: StreamEnd) -> str:
        """What is wrong before the end, in words; empty when nothing was found.

        Every absence is held against the erasures in the log, some messages against their events.
        """
        missing = await self._find_missing(reader, end)
        if missing is not None:
            return (
                f"JetStream stream {end.name} lacks message {missing}, and no erasure accounts for "
                f"that: somebody deleted or purged it, or NATS lost it. {_DELETE}"
            )
        # What was found once is looked at until it is mended.
        picked = {random.randint(1, end.position) for _ in range(_SAMPLES if end.position else 0)}  # noqa: S311 - a sample, no secret
        for sequence in sorted(self._suspects | picked):
            if await self._is_right(reader, end, Position(sequence)):
                self._suspects.discard(sequence)
            else:
                self._suspects.add(sequence)
        if self._suspects:
            first = min(self._suspects)
            return (
                f"Message {first} of JetStream stream {end.name} is not what event {first} of the "
                f"log says, or cannot be read: it was changed in NATS' storage. {_DELETE}"
            )
        return ""

    async def _stream_info(self, name: str, generation: int) -> StreamInfo:
        try:
            return await self._stream.stream_info(name)
        except NotFoundError:
            config = jetstream.stream_config(self._renderer.log_id, generation, self._replicas)
            info = await self._stream.add_stream(config)
            log.info("relay.stream_created", stream=name)
            return info

    async def _last_message(self, name: str, generation: int) -> RawStreamMsg | None:
        subjects = jetstream.lineage_subjects(self._renderer.log_id, generation)
        try:
            return await self._stream.get_last_msg(name, subjects)
        except NotFoundError:
            return None

    async def _compare_end(
        self, reader: RelayLog, name: str, sequence: int, last: RawStreamMsg | None
    ) -> bytes:
        """The log's chain at the last message, which is that of the log's event."""
        if last is None or last.seq != sequence:
            raise StreamContradiction(
                f"JetStream stream {name} ends at {sequence}, but somebody deleted or purged the "
                f"last messages, so it cannot be compared with the log. {_DELETE}"
            )
        event = await reader.read_at(Position(sequence))
        assert event is not None, "the log ends no earlier than the stream"  # noqa: S101 - a type guard
        self._compare(name, last, event)
        return event.stored.chain

    async def _compare_before(self, reader: RelayLog, name: str, end: Position) -> None:
        """Compare those that may have been stored behind somebody else's message."""
        first = Position(max(1, end - LIGHT_MAX + 1))
        for event in await reader.read_after(Position(first - 1), end - first):
            # What is missing is looked for elsewhere.
            with suppress(NotFoundError):
                found = await self._stream.get_msg(name, seq=event.stored.position)
                self._compare(name, found, event)

    def _compare(self, name: str, found: RawStreamMsg, event: KeyedEvent) -> None:
        headers, stored = headers_of(found), event.stored
        # The chain stands for every event before this one too.
        if (
            headers.get(jetstream.DIGEST_HEADER) != stored.digest.hex()
            or headers.get(jetstream.CHAIN_HEADER) != stored.chain.hex()
        ):
            raise StreamContradiction(
                f"Message {stored.position} of JetStream stream {name} is not event "
                f"{stored.position} of the log: the database was restored to an earlier point, or "
                f"somebody else published. {_UNDECIDED}"
            )

    async def _find_missing(self, reader: RelayLog, end: StreamEnd) -> Position | None:
        """The first message before the end that is missing and should not be."""
        answer = await self._client().request(
            f"$JS.API.STREAM.INFO.{end.name}", b'{"deleted_details":true}', timeout=_REQUEST_SECONDS
        )
        state = msgspec.json.decode(answer.data, type=_Info).state
        if state is None:
            raise NotFoundError(description=f"JetStream stream {end.name} is gone")
        holes = frozenset(state.deleted or ())
        missing = await reader.first_unaccounted(
            min(state.first_seq, end.position + 1), sorted(holes - self._accounted)
        )
        if missing is None:
            self._accounted = holes
        return missing

    async def _is_right(self, reader: RelayLog, end: StreamEnd, position: Position) -> bool:
        try:
            found = await self._stream.get_msg(end.name, seq=position)
        except NotFoundError as error:
            if error.err_code != _NO_MESSAGE:
                raise
            # NATS may list it as there, and pass it over because its bytes are damaged.
            return await reader.first_unaccounted(1, [position]) is None
        keyed = await reader.read_at(position)
        assert keyed is not None, "the log ends no earlier than the stream"  # noqa: S101 - a type guard
        try:
            message = self._renderer.message(keyed, end.generation)
        except EventsError:
            # It was published, so it is the log that has a fault now, and a check of its own.
            return True
        return _is_same_message(found.subject or "", headers_of(found), found.data or b"", message)

    @property
    def _stream(self) -> JetStreamContext:
        return self._client().jetstream(timeout=_REQUEST_SECONDS)


def _is_same_message(subject: str, headers: dict[str, str], body: bytes, message: Message) -> bool:
    """Whether what JetStream holds is the message of an event, whatever the public URL was then.

    Of an event whose customer was erased since, the data may still be there or not.
    """
    if subject != message.subject:
        return False
    if any(headers.get(name) != value for name, value in message.headers.items()):
        return False
    if body == message.body:
        return True
    found, expected = _members(body), _members(message.body)
    if expected.get("data") == b"null":
        found.pop("data", None)
        del expected["data"]
    return found == expected


def _members(body: bytes) -> dict[str, bytes]:
    try:
        decoded = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    members = {name: bytes(value) for name, value in decoded.items()}
    members["dataschema"] = members.get("dataschema", b"").rpartition(b"/schemas/")[2]
    return members
