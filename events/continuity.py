"""Which of the messages is the next event: none comes twice, none is left out, none is foreign.

How that is known stands at CustomerSubscriber, the one that reads with this.
"""

from contextlib import suppress

from msgspec.structs import replace
from nats.aio.msg import Msg

from events.chain import HASH_BYTES, next_chain
from events.delivery import Delivery
from events.envelope import Position, RecordedEvent, WorkspaceId
from events.errors import EventsError, EventsMissing, LostHistory, UnknownEvent
from events.messages import NOWHERE, NotAnEvent, chain_of, read_message
from events.place import Place


class Reading:
    """Turns what a delivery has into events, and tells it how far it is with each."""

    def __init__(self, delivery: Delivery, workspace_id: WorkspaceId | None) -> None:
        self._delivery = delivery
        self._workspace_id = workspace_id
        self.trouble: EventsError | None = None
        """Why the last `take` stopped where it did, unless that was all there was."""

    def take(self, limit: int) -> list[RecordedEvent]:
        """The events that have arrived and follow the place, without waiting for any."""
        self.trouble = None
        messages = self._delivery.messages
        events: list[RecordedEvent] = []
        while messages and len(events) < limit:
            try:
                event = self._read(*messages[0])
            except EventsError as error:
                self.trouble = error
                break
            messages.popleft()
            if event is not None:
                events.append(event)
        self._delivery.taken()
        return events

    def adopt(self, event: RecordedEvent) -> bool:
        """Count an event from elsewhere as read: False if it was read before.

        Raises EventsMissing when others should come before it.
        """
        if self._workspace_id is None and event.position == NOWHERE:
            raise ValueError(
                "`fill` gave an event without its position. A subscriber of all workspaces needs "
                "it: read the events from the log, or subscribe to one workspace."
            )
        lacking = self._lacks(event)
        if lacking is not None:
            raise self._missing(f"what was to fill the hole has a hole too, {lacking}")
        if not self._is_new(event):
            return False
        self._advance(event)
        return True

    def _read(self, position: Position, message: Msg) -> RecordedEvent | None:
        """The event of a message if it is the next one, None if it was read before.

        Raises EventsMissing, LostHistory, UnknownEvent.
        """
        delivery = self._delivery
        place = delivery.place
        if position < place.position:
            return None
        if position == place.position:
            self._recognise(message)
            return None
        try:
            event = read_message(message, position)
        except NotAnEvent as error:
            reason = (
                f"its message {position} is no event of the log; "
                "it was damaged, or somebody else published it"
            )
            raise self._missing(reason) from error
        self._check_history(place, event)
        lacking = self._lacks(event)
        if lacking is not None:
            raise self._missing(lacking)
        if not self._is_new(event):
            if not delivery.is_proven:
                raise self._lost(f"the workspace has only {event.workspace_sequence} events there")
            return None
        self._advance(event)
        delivery.prove()
        return event

    def _recognise(self, message: Msg) -> None:
        """Compare the message at the place with what was read there."""
        delivery, place = self._delivery, self._delivery.place
        if delivery.is_proven:
            return
        # What cannot be read here was read before: it only proves nothing.
        with suppress(NotAnEvent, UnknownEvent):
            chain = chain_of(message, place.position)
            if not chain.startswith(place.chain):
                raise self._lost("another event stands there")
            delivery.prove()
            place = replace(place, chain=chain, generation=delivery.generation)
            delivery.advance(place)
            if self._workspace_id is not None and place.workspace_sequence is None:
                sequence = read_message(message, place.position).workspace_sequence
                delivery.advance(replace(place, workspace_sequence=sequence))

    def _check_history(self, place: Place, event: RecordedEvent) -> None:
        delivery = self._delivery
        is_next = event.position == place.position + 1 and len(place.chain) == HASH_BYTES
        if is_next and next_chain(place.chain, event.digest) == event.chain:
            return
        if delivery.is_proven:
            if is_next:
                raise self._missing(f"event {event.position} is another than the log's")
            return
        if is_next:
            raise self._lost("the event behind it follows another one")
        if place.chain and place.generation != delivery.generation:
            raise self._lost(f"generation {delivery.generation} does not have that event")

    def _lacks(self, event: RecordedEvent) -> str | None:
        """What is missing between the place and an event, in words."""
        if self._workspace_id is None:
            last, number, word = self._delivery.place.position, event.position, "event"
        elif event.workspace_id != self._workspace_id:
            return f"event {event.position} is of another workspace"
        else:
            last, number = self._delivery.place.workspace_sequence, event.workspace_sequence
            word = f"event of workspace {self._workspace_id}"
        if last is None or number <= last + 1:
            return None
        return f"the next {word} it has is {number}"

    def _is_new(self, event: RecordedEvent) -> bool:
        if self._workspace_id is None:
            return event.position > self._delivery.place.position
        return event.workspace_sequence > (self._delivery.place.workspace_sequence or 0)

    def _advance(self, event: RecordedEvent) -> None:
        delivery = self._delivery
        sequence = None if self._workspace_id is None else event.workspace_sequence
        if event.position == NOWHERE:
            # It came over HTTP: the stream then is read from an earlier place.
            delivery.advance(replace(delivery.place, workspace_sequence=sequence))
            return
        delivery.advance(
            Place(
                position=event.position,
                chain=event.chain,
                workspace_sequence=sequence,
                generation=delivery.generation,
            )
        )

    def _missing(self, reason: str) -> EventsMissing:
        place = self._delivery.place
        return EventsMissing(
            self._delivery.stream, place.position, place.workspace_sequence, reason
        )

    def _lost(self, reason: str) -> LostHistory:
        source = f"JetStream stream {self._delivery.stream}"
        return LostHistory(source, self._delivery.place.position, reason)
