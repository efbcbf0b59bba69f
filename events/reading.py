"""From stored bytes to events: unwrap the key, open the payload, decode."""

from events import codec
from events.append import KeyedEvent
from events.customer import CustomerEvent
from events.envelope import RecordedEvent
from events.keys import Keyring, Place, WrappedKey, open_payload


def open_event(
    keyring: Keyring, place: Place, sealed: bytes, wrapped_key: WrappedKey | None, *, clear: bool
) -> bytes | None:
    """The payload's JSON; None when its key was destroyed. Raises CorruptEvent, KeyUnavailable."""
    if clear:
        return sealed
    if wrapped_key is None:
        return None
    return open_payload(keyring.unwrap(wrapped_key), place, sealed)


def open_stored(keyring: Keyring, keyed: KeyedEvent) -> bytes | None:
    """The payload's JSON of a stored event; None when its customer was erased."""
    stored = keyed.stored
    place = Place(
        workspace_id=stored.workspace_id,
        stream_id=stored.stream_id,
        stream_version=stored.stream_version,
        type=stored.type,
        schema_version=stored.schema_version,
    )
    clear = stored.data_key_id is None
    return open_event(keyring, place, stored.payload, keyed.wrapped_key, clear=clear)


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
    )
