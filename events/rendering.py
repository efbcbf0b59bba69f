"""From stored events to the messages that JetStream keeps of them, and how large those get."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from events import jetstream
from events.append import KeyedEvent
from events.batches import Message, size_of
from events.cloudevents import render_cloud_event
from events.envelope import Position
from events.errors import MessageTooLarge
from events.keys import Keyring
from events.reading import open_stored

AROUND_PAYLOAD: Final = 2048
"""More bytes than a message has beside the event's payload and the public URL."""
LIGHT_MAX: Final = 8
"""So many are stored sooner one by one, sent at once, than as a batch: in 2.4 ms against 3.2."""


def payload_max(message_max: int, public_url: str) -> int:
    """The bytes a payload may have so that its message fits into a broker's limit."""
    return message_max - AROUND_PAYLOAD - len(msgspec.json.encode(public_url))


class Prepared(Struct, frozen=True, kw_only=True):
    """Messages to publish at once, and where the last one stands."""

    messages: list[Message]
    last: Position
    chain: bytes
    """The log's chain at the last one."""
    is_full: bool
    """Whether more may stand behind it already."""
    is_light: bool
    """Whether it is a few events of as many commands: none would be seen in half, sent singly."""


class Renderer(Struct, frozen=True, kw_only=True):
    """Makes the messages of one log."""

    keyring: Keyring
    log_id: int
    public_url: str

    def message(self, keyed: KeyedEvent, generation: int) -> Message:
        """The message of an event. Raises CorruptEvent, KeyUnavailable."""
        event = keyed.stored
        return Message(
            subject=jetstream.event_subject(
                self.log_id, generation, event.workspace_id, event.stream_id, event.type
            ),
            body=self.body(keyed),
            headers=jetstream.message_headers(event),
        )

    def body(self, keyed: KeyedEvent) -> bytes:
        """The CloudEvent of an event. Raises CorruptEvent, KeyUnavailable."""
        # An erased event keeps its place, in a stream that is made again too, without its data.
        return render_cloud_event(keyed.stored, open_stored(self.keyring, keyed), self.public_url)

    def prepare(
        self, events: Sequence[KeyedEvent], generation: int, message_max: int, *, is_full: bool
    ) -> Prepared:
        """The messages of events, up to the first that is too large for the broker.

        Raises MessageTooLarge when that is the very first; CorruptEvent, KeyUnavailable.
        """
        messages: list[Message] = []
        for keyed in events:
            message = self.message(keyed, generation)
            size = size_of(message)
            if size > message_max:
                if not messages:
                    raise MessageTooLarge(keyed.stored.position, size, message_max)
                is_full = True
                break
            messages.append(message)
        taken = events[: len(messages)]
        commands = {keyed.stored.command_id for keyed in taken}
        return Prepared(
            messages=messages,
            last=taken[-1].stored.position,
            chain=taken[-1].stored.chain,
            is_full=is_full,
            is_light=not is_full and len(taken) <= LIGHT_MAX and len(commands) == len(taken),
        )
