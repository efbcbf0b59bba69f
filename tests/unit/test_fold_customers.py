"""What a batch of events makes of the customers it touches."""

from datetime import UTC, datetime, timedelta

import msgspec

from events.customer import (
    CustomerCreated,
    CustomerData,
    CustomerDeleted,
    CustomerErased,
    CustomerEvent,
    CustomerRestored,
    CustomerUpdated,
    PreviousData,
)
from events.document import render_document
from events.envelope import CustomerId, Position, RecordedEvent, StreamVersion, WorkspaceId
from projections.customers import LogEvent, UnreadableEvent, fold_batch
from runtime.ids import new_id

ACME = WorkspaceId("acme")
START = datetime(2026, 3, 3, 9, 30, tzinfo=UTC)
ANN = CustomerData(email="ann@example.com", phone="+15550001", tags=("VIP", "Gold"))
BOB = CustomerData(email="Bob@Example.com", last_name="Łuczak", external_id="B-1")


def story(*events: CustomerEvent | None, first: int = 1) -> list[RecordedEvent]:
    """The events of one customer, one second apart; None was erased since."""
    customer_id = CustomerId(new_id())
    return [
        RecordedEvent(
            position=Position(first + index),
            workspace_id=ACME,
            workspace_sequence=first + index,
            stream_id=customer_id,
            stream_version=StreamVersion(first + index),
            event_id=new_id(),
            type="CustomerUpdated" if event is None else type(event).__name__,
            schema_version=1,
            recorded_at=START + timedelta(seconds=first + index),
            digest=b"",
            chain=b"",
            event=event,
        )
        for index, event in enumerate(events)
    ]


def unreadable(event: RecordedEvent) -> UnreadableEvent:
    return UnreadableEvent(
        position=event.position,
        workspace_id=event.workspace_id,
        stream_id=event.stream_id,
        type=event.type,
        chain=event.chain,
        reason="CorruptEvent",
        stack="…",
    )


CREATED = CustomerCreated(customer=ANN, changed_fields=("email",))
UPDATED = CustomerUpdated(customer=BOB, changed_fields=("email",), previous=PreviousData())
DELETED = CustomerDeleted(customer=ANN)
RESTORED = CustomerRestored(customer=ANN)
ERASED = CustomerErased(positions=(1,))


def test_only_the_newest_event_of_a_customer_makes_its_row() -> None:
    events = story(CREATED, UPDATED)
    (row,) = fold_batch(events).rows
    assert (row.position, row.version) == (2, 2)
    assert row.document == render_document(
        events[0].stream_id,
        StreamVersion(2),
        BOB,
        created_at=events[0].recorded_at,
        updated_at=events[1].recorded_at,
    )


def test_a_row_has_the_keys_it_is_found_by() -> None:
    (ann,) = fold_batch(story(CREATED)).rows
    assert ann.tag_keys == ["acme/vip", "acme/gold"]
    assert ann.tag_spellings == ["VIP", "Gold"]
    assert (ann.phone, ann.email_key, ann.last_name_key) == ("+15550001", "ann@example.com", None)
    (bob,) = fold_batch(story(UPDATED)).rows
    assert (bob.email_key, bob.last_name_key) == ("bob@example.com", "luczak")
    assert bob.external_id == "B-1"


def test_tags_that_only_differ_in_how_they_are_encoded_count_once() -> None:
    tags = ("é", "e\N{COMBINING ACUTE ACCENT}")
    data = msgspec.structs.replace(ANN, tags=tags)
    (row,) = fold_batch(story(CustomerCreated(customer=data, changed_fields=()))).rows
    assert (row.tag_keys, row.tag_spellings) == (["acme/é"], ["é"])


def test_the_time_of_creation_is_unknown_when_it_lies_before_the_batch() -> None:
    (row,) = fold_batch(story(UPDATED, first=2)).rows
    assert row.created_at is None


def test_deleted_and_erased_customers_are_gone() -> None:
    for end in (DELETED, ERASED):
        folded = fold_batch(story(CREATED, end))
        assert (folded.rows, folded.parked, len(folded.gone)) == ([], [], 1)


def test_a_customer_restored_in_the_same_batch_is_gone_and_back() -> None:
    folded = fold_batch(story(CREATED, DELETED, RESTORED))
    assert (len(folded.gone), len(folded.rows)) == (1, 1)
    assert folded.rows[0].created_at == START + timedelta(seconds=1)


def test_an_event_erased_since_makes_nothing() -> None:
    folded = fold_batch(story(None, None))
    assert (folded.rows, folded.gone, folded.parked) == ([], [], [])


def test_an_unreadable_event_parks_its_customer_from_the_first_event_of_the_batch() -> None:
    fine = story(CREATED)
    poison = story(UPDATED, UPDATED, UPDATED, first=5)
    events: list[LogEvent] = [*fine, poison[0], unreadable(poison[1]), poison[2]]
    folded = fold_batch(events)
    assert [row.customer_id for row in folded.rows] == [fine[0].stream_id]
    (parked,) = folded.parked
    assert (parked.customer_id, parked.position) == (poison[0].stream_id, 5)
    assert parked.reason == "CorruptEvent"


def test_the_end_of_a_customer_needs_no_readable_payload() -> None:
    events = story(CREATED, DELETED)
    folded = fold_batch([events[0], unreadable(events[1])])
    assert (folded.rows, folded.parked, len(folded.gone)) == ([], [], 1)


def test_a_customer_that_cannot_be_folded_is_parked_with_the_stack() -> None:
    data = msgspec.structs.replace(ANN, first_name="\udc00")
    folded = fold_batch(story(CustomerCreated(customer=data, changed_fields=())) + story(CREATED))
    assert len(folded.rows) == 1
    (parked,) = folded.parked
    assert parked.reason == "UnicodeEncodeError"
    assert "render_document" in parked.stack
    parked.stack.encode()
