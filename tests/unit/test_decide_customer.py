"""What each command makes of each state of a customer."""

from functools import reduce
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import given as for_all
from msgspec import UNSET, Raw

from command_side.commands import (
    Command,
    CreateCustomer,
    CustomerChanges,
    DeleteCustomer,
    RestoreCustomer,
    UpdateCustomer,
)
from command_side.customer import Live, State, Unknown, decide, evolve
from command_side.errors import CustomerNotFound, InvalidFields, PersonErased, Rejection
from events import codec
from events.customer import (
    CustomerCreated,
    CustomerData,
    CustomerDeleted,
    CustomerErased,
    CustomerRestored,
    CustomerUpdated,
    PreviousData,
)
from tests.support.builders import an_origin, some_changes
from tests.support.specification import given

JANE = CustomerData(email="jane@example.com")
CREATED = CustomerCreated(
    customer=JANE, changed_fields=("email",), actor="clerk", reason="because", request_id="r-1"
)
DELETED = CustomerDeleted(customer=JANE, actor="clerk", reason="because", request_id="r-1")
ERASED = CustomerErased(positions=(1,))


def updated(before: CustomerData, **fields: Any) -> CustomerUpdated:
    """The event that these fields changed."""
    return CustomerUpdated(
        customer=msgspec.structs.replace(before, **fields),
        changed_fields=tuple(fields),
        previous=PreviousData(**{name: getattr(before, name) for name in fields}),
        actor="clerk",
        reason="because",
        request_id="r-1",
    )


def test_creating_makes_a_customer_with_the_whole_state() -> None:
    given().when(CreateCustomer(changes=some_changes())).then(CREATED)


def test_a_customer_without_email_and_phone_is_refused() -> None:
    rejection = (
        given()
        .when(CreateCustomer(changes=CustomerChanges(first_name="Jane")))
        .then_rejected(InvalidFields)
    )
    assert isinstance(rejection, InvalidFields)
    assert [(error.field, error.code) for error in rejection.errors] == [
        ("email", "contact_required"),
        ("phone", "contact_required"),
    ]


def test_updating_changes_only_what_is_sent() -> None:
    given(CREATED).when(UpdateCustomer(changes=CustomerChanges(first_name="Jane"))).then(
        updated(JANE, first_name="Jane")
    )


def test_updating_to_what_is_there_does_nothing() -> None:
    given(CREATED).when(UpdateCustomer(changes=some_changes())).then_nothing()


def test_null_clears_a_field_but_not_the_last_contact() -> None:
    named = updated(JANE, first_name="Jane")
    given(CREATED, named).when(UpdateCustomer(changes=CustomerChanges(first_name=None))).then(
        updated(named.customer, first_name=None)
    )
    given(CREATED).when(UpdateCustomer(changes=CustomerChanges(email=None))).then_rejected(
        InvalidFields
    )


def test_custom_fields_merge_by_key_and_null_removes_one() -> None:
    before = updated(JANE, custom_fields={"a": Raw(b"1"), "b": Raw(b"2")})
    changes = CustomerChanges(custom_fields={"b": Raw(b"null"), "c": Raw(b"3.10")})
    given(CREATED, before).when(UpdateCustomer(changes=changes)).then(
        updated(before.customer, custom_fields={"a": Raw(b"1"), "c": Raw(b"3.10")})
    )


def test_a_null_is_kept_when_created_and_sending_it_again_changes_nothing() -> None:
    changes = some_changes(custom_fields={"a": Raw(b"null")})
    created = decide(Unknown(), CreateCustomer(changes=changes), an_origin())
    state = reduce(evolve, created, Unknown())
    assert isinstance(state, Live)
    assert state.data.custom_fields == {"a": Raw(b"null")}

    assert decide(state, UpdateCustomer(changes=changes), an_origin()) == []


def test_preferences_merge_by_key_and_tags_are_replaced() -> None:
    before = updated(JANE, tags=("vip",), communication_preferences={"sms": True, "email": True})
    changes = CustomerChanges(tags=("gold",), communication_preferences={"sms": None})
    given(CREATED, before).when(UpdateCustomer(changes=changes)).then(
        updated(before.customer, tags=("gold",), communication_preferences={"email": True})
    )


def test_deleting_takes_the_customer_out_once() -> None:
    given(CREATED).when(DeleteCustomer()).then(DELETED)
    given(CREATED, DELETED).when(DeleteCustomer()).then_rejected(CustomerNotFound)
    given().when(DeleteCustomer()).then_rejected(CustomerNotFound)


def test_a_deleted_customer_cannot_be_updated_and_a_restored_one_can() -> None:
    update = UpdateCustomer(changes=CustomerChanges(first_name="Jane"))
    given(CREATED, DELETED).when(update).then_rejected(CustomerNotFound)
    given(CREATED, DELETED, CustomerRestored(customer=JANE)).when(update).then(
        updated(JANE, first_name="Jane")
    )


def test_restoring_brings_a_deleted_customer_back_as_it_was() -> None:
    restored = CustomerRestored(customer=JANE, actor="clerk", reason="because", request_id="r-1")
    given(CREATED, DELETED).when(RestoreCustomer()).then(restored)
    given(CREATED, DELETED, restored, DELETED).when(RestoreCustomer()).then(restored)


def test_restoring_a_live_customer_does_nothing() -> None:
    given(CREATED).when(RestoreCustomer()).then_nothing()
    given(CREATED, DELETED, CustomerRestored(customer=JANE)).when(RestoreCustomer()).then_nothing()


def test_nobody_can_be_restored_who_never_was() -> None:
    given().when(RestoreCustomer()).then_rejected(CustomerNotFound)


def test_an_erased_customer_never_comes_back() -> None:
    for event in (CREATED, DELETED, CustomerRestored(customer=JANE)):
        given(CREATED, ERASED, event).when(DeleteCustomer()).then_rejected(PersonErased)
        given(CREATED, ERASED, event).when(RestoreCustomer()).then_rejected(PersonErased)


def test_too_many_or_too_large_custom_fields_are_refused() -> None:
    many = {f"k{n}": Raw(b"1") for n in range(101)}
    large = {"k": Raw(b'"' + b"x" * 16 * 1024 + b'"')}
    nulls = {f"k{n}": Raw(b"null") for n in range(101)}
    for custom_fields, code in ((many, "too_many"), (large, "too_long"), (nulls, "too_many")):
        rejection = (
            given()
            .when(CreateCustomer(changes=some_changes(custom_fields=custom_fields)))
            .then_rejected(InvalidFields)
        )
        assert isinstance(rejection, InvalidFields)
        assert [error.code for error in rejection.errors] == [code]


def _field(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(UNSET) | st.none() | strategy


CHANGES = st.builds(
    CustomerChanges,
    email=_field(st.sampled_from(["a@b.test", "c@d.test"])),
    phone=_field(st.sampled_from(["+15550001234", "+4930123456"])),
    first_name=_field(st.text(max_size=3)),
    external_id=_field(st.sampled_from(["x", "y"])),
    tags=_field(st.lists(st.sampled_from(["a", "b"]), unique=True).map(tuple)),
    custom_fields=_field(
        st.dictionaries(
            st.sampled_from("abc"), st.sampled_from([Raw(b"null"), Raw(b"1"), Raw(b'"x"')])
        )
    ),
    communication_preferences=_field(
        st.dictionaries(st.sampled_from(["sms", "email"]), st.none() | st.booleans())
    ),
)
COMMANDS = st.lists(
    st.builds(UpdateCustomer, changes=CHANGES)
    | st.builds(CreateCustomer, changes=CHANGES)
    | st.just(DeleteCustomer())
    | st.just(RestoreCustomer()),
    max_size=6,
)


def _run(state: State, command: Command) -> State:
    try:
        events = decide(state, command, an_origin())
    except Rejection:
        return state
    for event in events:
        decoded = codec.decode(codec.type_of(event), 1, codec.encode(event))
        assert decoded == event
    return reduce(evolve, events, state)


@for_all(COMMANDS, CHANGES)
def test_the_same_update_again_does_nothing(history: list[Command], changes: Any) -> None:
    state: State = reduce(_run, history, Unknown())
    update = UpdateCustomer(changes=changes)
    once = _run(state, update)
    assert _run(once, update) == once


@for_all(COMMANDS)
def test_whatever_happens_a_live_customer_can_be_reached(history: list[Command]) -> None:
    state: State = reduce(_run, history, Unknown())
    if isinstance(state, Live):
        assert state.data.email is not None or state.data.phone is not None
