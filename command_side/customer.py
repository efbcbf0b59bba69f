"""The rules of a customer: its state, how events change it, what a command makes of it. Pure."""

from typing import Final, TypeAlias, assert_never

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from command_side.commands import (
    Command,
    CreateCustomer,
    CustomerChanges,
    DeleteCustomer,
    Origin,
    RestoreCustomer,
    UpdateCustomer,
)
from command_side.errors import CustomerNotFound, InvalidFields, PersonErased
from events.customer import (
    CUSTOM_FIELDS_MAX,
    Channel,
    CustomerCreated,
    CustomerData,
    CustomerDeleted,
    CustomerErased,
    CustomerEvent,
    CustomerRestored,
    CustomerUpdated,
    PreviousData,
)
from runtime.field_error import FieldError

FIELDS: Final = CustomerData.__struct_fields__
CUSTOM_FIELDS_BYTES_MAX: Final = 16 * 1024
_NULL: Final = Raw(b"null")


class Unknown(Struct, frozen=True):
    """Nothing has happened yet."""


class Live(Struct, frozen=True):
    """The customer is in the answers."""

    data: CustomerData


class Deleted(Struct, frozen=True):
    """The customer is deleted, and could be restored."""

    data: CustomerData


class Erased(Struct, frozen=True):
    """The person is forgotten."""


State: TypeAlias = Unknown | Live | Deleted | Erased


def evolve(state: State, event: CustomerEvent) -> State:
    """The state after an event. Every payload holds the whole customer, so the last is enough."""
    if isinstance(state, Erased):
        return state
    match event:
        case CustomerCreated() | CustomerUpdated() | CustomerRestored():
            return Live(event.customer)
        case CustomerDeleted():
            return Deleted(event.customer)
        case CustomerErased():
            return Erased()
        case _:
            assert_never(event)


def customer_of(state: State, command: Command) -> CustomerData:
    """The customer that a command is about; an empty one for one that is to be made.

    Raises CustomerNotFound, PersonErased.
    """
    match command:
        case CreateCustomer():
            return CustomerData()
        case UpdateCustomer() | DeleteCustomer():
            return live(state)
        case RestoreCustomer():
            return state.data if isinstance(state, Deleted) else live(state)
        case _:
            assert_never(command)


def decide(state: State, command: Command, origin: Origin) -> list[CustomerEvent]:
    """The events a command leads to; none when all is as wished already. Raises Rejection."""
    before = customer_of(state, command)
    match command:
        case CreateCustomer():
            data = _resulting(before, command.changes)
            return [
                CustomerCreated(
                    customer=data,
                    changed_fields=_changed_fields(before, data),
                    actor=origin.actor,
                    reason=origin.reason,
                    request_id=origin.request_id,
                )
            ]
        case UpdateCustomer():
            return _update(before, command.changes, origin)
        case DeleteCustomer():
            return [
                CustomerDeleted(
                    customer=before,
                    actor=origin.actor,
                    reason=origin.reason,
                    request_id=origin.request_id,
                )
            ]
        case RestoreCustomer():
            if isinstance(state, Live):
                return []
            return [
                CustomerRestored(
                    customer=before,
                    actor=origin.actor,
                    reason=origin.reason,
                    request_id=origin.request_id,
                )
            ]
        case _:
            assert_never(command)


def _update(before: CustomerData, changes: CustomerChanges, origin: Origin) -> list[CustomerEvent]:
    data = _resulting(before, changes)
    changed = _changed_fields(before, data)
    if not changed:
        return []
    return [
        CustomerUpdated(
            customer=data,
            changed_fields=changed,
            previous=PreviousData(**{name: getattr(before, name) for name in changed}),
            actor=origin.actor,
            reason=origin.reason,
            request_id=origin.request_id,
        )
    ]


def rules_broken(
    before: CustomerData, changes: CustomerChanges, errors: tuple[FieldError, ...], pointer: str
) -> tuple[FieldError, ...]:
    """These errors of single fields, and the rules of the customer as a whole that break as well.

    `changes` are without the fields in error. A wrong email or phone is not also reported as
    missing.
    """
    wrong = {error.field for error in errors}
    try:
        _resulting(before, changes)
    except InvalidFields as rejection:
        return errors + tuple(
            replace(error, pointer=f"{pointer}{error.pointer}")
            for error in rejection.errors
            if error.code != "contact_required" or not wrong & {"email", "phone"}
        )
    return errors


def held_external_id(state: State) -> str | None:
    """The external_id that a customer in this state holds for itself."""
    return state.data.external_id if isinstance(state, Live) else None


def live(state: State) -> CustomerData:
    """The customer, when it is live. Raises CustomerNotFound, PersonErased."""
    match state:
        case Live():
            return state.data
        case Unknown() | Deleted():
            raise CustomerNotFound
        case Erased():
            raise PersonErased
        case _:
            assert_never(state)


def _resulting(before: CustomerData, changes: CustomerChanges) -> CustomerData:
    """The customer after the changes; raises InvalidFields when it breaks a rule."""
    after = CustomerData(
        email=before.email if changes.email is UNSET else changes.email,
        phone=before.phone if changes.phone is UNSET else changes.phone,
        first_name=before.first_name if changes.first_name is UNSET else changes.first_name,
        last_name=before.last_name if changes.last_name is UNSET else changes.last_name,
        company_name=(
            before.company_name if changes.company_name is UNSET else changes.company_name
        ),
        external_id=before.external_id if changes.external_id is UNSET else changes.external_id,
        tags=before.tags if changes.tags is UNSET else changes.tags or (),
        custom_fields=_merged_custom_fields(before, changes),
        communication_preferences=_merged_preferences(before, changes),
    )
    errors = tuple(_errors_of(after))
    if errors:
        raise InvalidFields(errors)
    return after


def _merged_custom_fields(before: CustomerData, changes: CustomerChanges) -> dict[str, Raw]:
    if changes.custom_fields is UNSET:
        return before.custom_fields
    if changes.custom_fields is None:
        return {}
    if before == CustomerData():
        # A new customer: there is nothing to remove, and a null is kept as sent like any value.
        return changes.custom_fields
    merged = dict(before.custom_fields)
    for key, value in changes.custom_fields.items():
        if value != _NULL:
            merged[key] = value
        elif merged.get(key) != _NULL:
            # A null on a null is as wished already: sending the same again changes nothing.
            merged.pop(key, None)
    return merged


def _merged_preferences(before: CustomerData, changes: CustomerChanges) -> dict[Channel, bool]:
    if changes.communication_preferences is UNSET:
        return before.communication_preferences
    merged = dict(before.communication_preferences)
    if changes.communication_preferences is None:
        return {}
    for channel, allowed in changes.communication_preferences.items():
        if allowed is None:
            merged.pop(channel, None)
        else:
            merged[channel] = allowed
    return merged


def _errors_of(data: CustomerData) -> list[FieldError]:
    """What is wrong with a customer as a whole, whoever sent which part of it."""
    errors: list[FieldError] = []
    if data.email is None and data.phone is None:
        errors.extend(
            FieldError(
                field=field,
                error="A customer needs an email or a phone; neither would be left.",
                code="contact_required",
                pointer=f"/{field}",
            )
            for field in ("email", "phone")
        )
    if len(data.custom_fields) > CUSTOM_FIELDS_MAX:
        errors.append(_custom_fields_error(f"At most {CUSTOM_FIELDS_MAX} keys.", "too_many"))
    elif len(msgspec.json.encode(data.custom_fields)) > CUSTOM_FIELDS_BYTES_MAX:
        errors.append(
            _custom_fields_error("At most 16 KiB of JSON, all keys together.", "too_long")
        )
    return errors


def _custom_fields_error(error: str, code: str) -> FieldError:
    return FieldError(field="custom_fields", error=error, code=code, pointer="/custom_fields")


def _changed_fields(before: CustomerData, after: CustomerData) -> tuple[str, ...]:
    return tuple(name for name in FIELDS if getattr(before, name) != getattr(after, name))
