"""From a message of the JetStream stream, or from a body alone, back to the event."""

from datetime import datetime
from typing import Final

import msgspec
from nats.aio.msg import Msg

from events import codec
from events.cloudevents import CloudEvent
from events.envelope import CustomerId, Position, RecordedEvent, StreamVersion, WorkspaceId
from events.jetstream import CHAIN_HEADER, DIGEST_HEADER, POSITION_HEADER

NOWHERE: Final = Position(0)
_decoder: Final = msgspec.json.Decoder(CloudEvent)


class NotAnEvent(Exception):
    """A message that the relay did not publish, or that was damaged since."""


def position_of(message: Msg) -> Position:
    """The position that a message says it has; 0 when it says none."""
    try:
        return Position(max(0, int((message.headers or {})[POSITION_HEADER])))
    except (KeyError, ValueError):
        return NOWHERE


def stream_sequence_of(message: Msg) -> int:
    """The place of a message in its stream, as JetStream counts."""
    return int(message.metadata.sequence.stream)


def chain_of(message: Msg) -> bytes:
    """The chain that a message says it has; raises NotAnEvent."""
    try:
        return bytes.fromhex((message.headers or {})[CHAIN_HEADER])
    except (KeyError, ValueError) as error:
        raise NotAnEvent from error


def read_message(message: Msg, position: Position) -> RecordedEvent:
    """The event that a message holds, of this position; raises NotAnEvent, UnknownEvent."""
    headers = message.headers or {}
    try:
        digest = bytes.fromhex(headers[DIGEST_HEADER])
        chain = bytes.fromhex(headers[CHAIN_HEADER])
    except (KeyError, ValueError) as error:
        raise NotAnEvent from error
    return read_cloud_event(message.data, position=position, digest=digest, chain=chain)


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
            workspace_sequence=int(envelope.sequence),
            stream_id=CustomerId(envelope.subject),
            stream_version=StreamVersion(envelope.streamversion),
            event_id=envelope.id,
            type=envelope.type,
            schema_version=schema_version,
            recorded_at=datetime.fromisoformat(envelope.time),
            digest=digest,
            chain=chain,
            # What was erased holds no data where it is published again.
            event=None if data == b"null" else codec.decode(envelope.type, schema_version, data),
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise NotAnEvent from error
