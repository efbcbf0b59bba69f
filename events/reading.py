"""From stored bytes to events: unwrap the key, open the payload, decode."""

from events import codec
from events.append import KeyedEvent
from events.cloudevents import traceparent_of
from events.customer import CustomerEvent
from events.envelope import RecordedEvent
from events.errors import CorruptEvent
from events.keys import Keyring, PayloadBinding, open_payload


def open_stored(keyring: Keyring, keyed: KeyedEvent) -> bytes | None:
    """The payload's JSON of a stored event; None when its customer was erased.

    Raises CorruptEvent, KeyUnavailable.
    """
    stored = keyed.stored
    if stored.data_key_id is None:
        return stored.payload
    if keyed.wrapped_key is None:
        if keyed.erased:
            return None
        raise CorruptEvent(
            f"Event {stored.position} has no data key, and no CustomerErased says why: the key was "
            "lost or removed by hand. Restore keyring.data_keys from a backup."
        )
    binding = PayloadBinding(
        workspace_id=stored.workspace_id,
        stream_id=stored.stream_id,
        stream_version=stored.stream_version,
        type=stored.type,
        schema_version=stored.schema_version,
    )
    return open_payload(keyring.unwrap(keyed.wrapped_key), binding, stored.payload)


def recorded(keyring: Keyring, keyed: KeyedEvent) -> RecordedEvent:
    """The event as its readers get it."""
    stored = keyed.stored
    payload = open_stored(keyring, keyed)
    event: CustomerEvent | None = None
    if payload is not None:
        event = codec.decode(stored.type, stored.schema_version, payload)
    return RecordedEvent(
        position=stored.position,
        workspace_id=stored.workspace_id,
        workspace_sequence=stored.workspace_sequence,
        stream_id=stored.stream_id,
        stream_version=stored.stream_version,
        event_id=stored.event_id,
        type=stored.type,
        schema_version=stored.schema_version,
        recorded_at=stored.recorded_at,
        digest=stored.digest,
        chain=stored.chain,
        event=event,
        traceparent=traceparent_of(stored),
    )
