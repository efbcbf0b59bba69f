"""A command's group in the making: the customers it touches and the events decided for them."""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from command_side.commands import Origin
from command_side.customer import State, Unknown, evolve, held_external_id
from command_side.errors import EventTooLarge
from events import codec
from events.append import Appended, Group, NewReceipt, Reservation, StreamEvent
from events.customer import CustomerData, CustomerEvent
from events.document import render_document
from events.envelope import CustomerId, Metadata, NewEvent, Position, StreamVersion
from events.errors import CorruptEvent
from events.keys import DataKey, Keyring, PayloadBinding, WrappedKey, open_payload, seal_payload
from events.upcasters import NEWEST_VERSION
from runtime.ids import new_id

_encoder: Final = msgspec.json.Encoder()


class LogPlace(Struct, frozen=True, kw_only=True):
    """A place in the log: what a read must have passed to show what was written there."""

    generation: int
    position: Position
    chain: bytes


class DraftCustomer(Struct, kw_only=True):
    """One customer of a draft: as it is in the log, and as the events so far leave it."""

    customer_id: CustomerId
    state: State
    version: StreamVersion
    created_at: datetime | None
    updated_at: datetime | None
    data_key: DataKey
    new_key: WrappedKey | None
    """The data key, wrapped, while it is not in the log yet."""
    held_before: str | None
    """The external_id that the log has reserved for it."""
    place: LogPlace | None
    """Where the event that it was loaded by is in the log; None for one that is new."""
    changed: bool = False


class Draft:
    """Collects what one command changes, and makes the group to append of it."""

    def __init__(self, keyring: Keyring, origin: Origin, *, payload_max: int) -> None:
        self._keyring = keyring
        self._payload_max = payload_max
        self._origin = origin
        self._command_id = new_id()
        self._metadata = _encoder.encode(
            Metadata(api_key_id=origin.api_key_id, traceparent=origin.traceparent)
        )
        self._customers: list[DraftCustomer] = []
        self._events: list[NewEvent] = []
        self._changed_last: DraftCustomer | None = None

    @property
    def changed_last(self) -> DraftCustomer | None:
        """The customer of the newest event of this draft; None while it has no event."""
        return self._changed_last

    def add_new(self) -> DraftCustomer:
        """A customer nobody knows yet, with an id and a data key of its own."""
        customer_id = CustomerId(new_id())
        data_key, wrapped = self._keyring.make(customer_id)
        customer = DraftCustomer(
            customer_id=customer_id,
            state=Unknown(),
            version=StreamVersion(0),
            created_at=None,
            updated_at=None,
            data_key=data_key,
            new_key=wrapped,
            held_before=None,
            place=None,
        )
        self._customers.append(customer)
        return customer

    def add_known(self, newest: StreamEvent) -> DraftCustomer:
        """A customer as the log has it. Raises CorruptEvent, KeyUnavailable."""
        if newest.wrapped_key is None:
            raise CorruptEvent(
                f"Customer {newest.stream_id} has no data key, and no CustomerErased says why."
            )
        data_key = self._keyring.unwrap(newest.wrapped_key)
        binding = self._binding(
            newest.stream_id, newest.stream_version, newest.type, newest.schema_version
        )
        payload = open_payload(data_key, binding, newest.payload)
        event = codec.decode(newest.type, newest.schema_version, payload)
        state = evolve(Unknown(), event)
        customer = DraftCustomer(
            customer_id=newest.stream_id,
            state=state,
            version=newest.stream_version,
            created_at=newest.created_at,
            updated_at=newest.recorded_at,
            data_key=data_key,
            new_key=None,
            held_before=held_external_id(state),
            place=log_place_of(newest),
        )
        self._customers.append(customer)
        return customer

    def record(self, customer: DraftCustomer, events: list[CustomerEvent]) -> None:
        """Put decided events behind those the customer has. Raises EventTooLarge, and puts none."""
        payloads = [codec.encode(event) for event in events]
        if any(len(payload) > self._payload_max for payload in payloads):
            raise EventTooLarge
        for event, payload in zip(events, payloads, strict=True):
            event_type = codec.type_of(event)
            version = StreamVersion(customer.version + 1)
            schema_version = NEWEST_VERSION[event_type]
            binding = self._binding(customer.customer_id, version, event_type, schema_version)
            self._events.append(
                NewEvent(
                    event_id=new_id(),
                    stream_id=customer.customer_id,
                    stream_version=version,
                    type=event_type,
                    schema_version=schema_version,
                    data_key_id=customer.data_key.data_key_id,
                    payload=seal_payload(customer.data_key, binding, payload),
                    metadata=self._metadata,
                )
            )
            customer.state = evolve(customer.state, event)
            customer.version = version
            customer.changed = True
            self._changed_last = customer

    def stamp(self, appended: Appended) -> None:
        """Tell the customers that changed since when they are as they are."""
        for customer in self._customers:
            if customer.changed:
                customer.created_at = customer.created_at or appended.recorded_at
                customer.updated_at = appended.recorded_at

    def place_in(self, appended: Appended) -> LogPlace | None:
        """Where the group ended in the log; None when it had no events."""
        if appended.first_position is None:
            return None
        return LogPlace(
            generation=appended.generation,
            position=Position(appended.first_position + len(self._events) - 1),
            chain=appended.chain,
        )

    def group(self, receipt: NewReceipt | None = None) -> Group:
        """All of it, as one group: what is reserved follows from where the customers end."""
        frees: list[Reservation] = []
        takes: list[Reservation] = []
        for customer in self._customers:
            held = held_external_id(customer.state)
            if held == customer.held_before:
                continue
            for external_id, into in ((customer.held_before, frees), (held, takes)):
                if external_id is not None:
                    into.append(
                        Reservation(external_id=external_id, stream_id=customer.customer_id)
                    )
        return Group(
            workspace_id=self._origin.workspace_id,
            command_id=self._command_id,
            events=tuple(self._events),
            data_keys=tuple(
                customer.new_key
                for customer in self._customers
                if customer.new_key is not None and customer.changed
            ),
            frees=tuple(frees),
            takes=tuple(takes),
            receipt=receipt,
        )

    def _binding(
        self, customer_id: CustomerId, version: StreamVersion, event_type: str, schema_version: int
    ) -> PayloadBinding:
        return PayloadBinding(
            workspace_id=self._origin.workspace_id,
            stream_id=customer_id,
            stream_version=version,
            type=event_type,
            schema_version=schema_version,
        )


def log_place_of(event: StreamEvent) -> LogPlace:
    """Where an event is in the log."""
    return LogPlace(generation=event.generation, position=event.position, chain=event.chain)


def render(customer: DraftCustomer, data: CustomerData) -> bytes:
    """The document of a customer that is in the log."""
    created_at, updated_at = customer.created_at, customer.updated_at
    assert created_at is not None, "it has a first event"  # noqa: S101 - a type guard
    assert updated_at is not None, "it has a last event"  # noqa: S101 - a type guard
    return render_document(
        customer.customer_id, customer.version, data, created_at=created_at, updated_at=updated_at
    )
