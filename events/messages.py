"""From a message of the JetStream stream, or from a body alone, back to the event."""

from datetime import datetime
from typing import Final

import msgspec
from nats.aio.msg import Msg

from events import codec
from events.chain import HASH_BYTES
from events.cloudevents import CloudEvent
from events.envelope import CustomerId, Position, RecordedEvent, StreamVersion, WorkspaceId
from events.jetstream import CHAIN_HEADER, DIGEST_HEADER, POSITION_HEADER

NOWHERE: Final = Position(0)
# What a message of a consumer asks to be acknowledged at, and where the sequence stands in it:
# $JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>..., since NATS 2.2 behind two words more.
_ACKNOWLEDGES: Final = "$JS.ACK."
_SHORT_WORDS: Final = 9
_SEQUENCE_IN_SHORT: Final = 5
_SEQUENCE: Final = 7
_decoder: Final = msgspec.json.Decoder(CloudEvent)


class NotAnEvent(Exception):
    """A message that the relay did not publish, or that was damaged since."""


def position_of(message: Msg) -> Position:
    """The position at which a message stands: JetStream's own count, whatever it says itself.

    Raises NotAnEvent when no stream delivered it.
    """
    # By hand, for every message needs it: `message.metadata` takes as long as all the rest.
    words = message.reply.split(".")
    if not message.reply.startswith(_ACKNOWLEDGES) or len(words) < _SHORT_WORDS:
        raise NotAnEvent
    word = words[_SEQUENCE_IN_SHORT if len(words) == _SHORT_WORDS else _SEQUENCE]
    try:
        return Position(int(word))
    except ValueError as error:
        raise NotAnEvent from error


def chain_of(message: Msg, position: Position) -> bytes:
    """The chain that the message of this position says it has; raises NotAnEvent."""
    if (message.headers or {}).get(POSITION_HEADER) != str(position):
        raise NotAnEvent
    return _hash_in(message, CHAIN_HEADER)


def read_message(message: Msg, position: Position) -> RecordedEvent:
    """The event of this position that a message holds; raises NotAnEvent, UnknownEvent."""
    return read_cloud_event(
        message.data,
        position=position,
        digest=_hash_in(message, DIGEST_HEADER),
        chain=chain_of(message, position),
    )


def read_cloud_event(
    body: bytes, *, position: Position = NOWHERE, digest: bytes = b"", chain: bytes = b""
) -> RecordedEvent:
    """The event that a CloudEvents body holds; raises NotAnEvent, UnknownEvent.

    The body does not say where the event stands in the log.
    """
    try:
        envelope = _decoder.decode(body)
        schema_version = int(envelope.dataschema.rpartition("/")[2])
        data = bytes(envelope.data)
        return RecordedEvent(
            position=position,
            workspace_id=WorkspaceId(envelope.workspace),
            workspace_sequence=_count(int(envelope.sequence)),
            stream_id=CustomerId(envelope.subject),
            stream_version=StreamVersion(_count(envelope.streamversion)),
            event_id=envelope.id,
            type=envelope.type,
            schema_version=schema_version,
            recorded_at=datetime.fromisoformat(envelope.time),
            digest=digest,
            chain=chain,
            # What was erased holds no data where it is published again.
            event=None if data == b"null" else codec.decode(envelope.type, schema_version, data),
            traceparent=envelope.traceparent or None,
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise NotAnEvent from error


def _hash_in(message: Msg, header: str) -> bytes:
    try:
        digest = bytes.fromhex((message.headers or {})[header])
    except (KeyError, ValueError) as error:
        raise NotAnEvent from error
    if len(digest) != HASH_BYTES:
        raise NotAnEvent
    return digest


def _count(number: int) -> int:
    if number < 1:
        raise ValueError(number)
    return number
