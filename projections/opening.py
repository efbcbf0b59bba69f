"""Stored events, opened for the fold: one that cannot be read concerns its customer alone."""

from collections.abc import Iterable

from events.append import KeyedEvent
from events.errors import KeyUnavailable, UnknownEvent
from events.keys import Keyring
from events.reading import recorded
from projections.customers import LogEvent, UnreadableEvent, explain


def open_events(keyring: Keyring, keyed: Iterable[KeyedEvent]) -> list[LogEvent]:
    """Open events one by one.

    Raises KeyUnavailable, a fault of this process' settings, and UnknownEvent, which a process of a
    newer version can read: neither is a reason to park anybody.
    """
    return [_open(keyring, event) for event in keyed]


def _open(keyring: Keyring, keyed: KeyedEvent) -> LogEvent:
    try:
        return recorded(keyring, keyed)
    except (KeyUnavailable, UnknownEvent):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, only this customer waits
        stored = keyed.stored
        reason, stack = explain(error)
        return UnreadableEvent(
            position=stored.position,
            workspace_id=stored.workspace_id,
            stream_id=stored.stream_id,
            type=stored.type,
            chain=stored.chain,
            reason=reason,
            stack=stack,
        )
