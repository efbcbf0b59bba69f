"""Reading with a subscriber, and what a test compares with it."""

from collections.abc import Awaitable, Callable, Sequence

from events.append import KeyedEvent
from events.envelope import Position, RecordedEvent
from events.keys import Keyring
from events.reading import recorded
from events.subscriber import CustomerSubscriber, Place


async def read(subscriber: CustomerSubscriber, events: int) -> list[RecordedEvent]:
    """The next so many events."""
    return [await anext(subscriber) for _ in range(events)]


async def read_positions(subscriber: CustomerSubscriber, events: int) -> list[int]:
    """The positions of the next so many events."""
    return [event.position for event in await read(subscriber, events)]


def place_of(keyed: KeyedEvent, generation: int = 1) -> Place:
    """The place of an event, as a subscriber of its workspace has it."""
    event = keyed.stored
    return Place(
        position=event.position,
        chain=event.chain,
        workspace_sequence=event.workspace_sequence,
        generation=generation,
    )


def filling(
    keyring: Keyring, history: Sequence[KeyedEvent]
) -> Callable[[Place], Awaitable[list[RecordedEvent]]]:
    """A `fill` that gives what stands behind a place, one event a time."""

    async def fill(place: Place) -> list[RecordedEvent]:
        behind = (
            keyed
            for keyed in history
            if keyed.stored.position > place.position
            and keyed.stored.workspace_sequence > (place.workspace_sequence or 0)
        )
        return [recorded(keyring, keyed) for keyed in list(behind)[:1]]

    return fill


def positions(events: Sequence[RecordedEvent]) -> list[Position]:
    """The positions of events."""
    return [event.position for event in events]
