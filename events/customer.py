"""What can happen to a customer: the events, as they are stored, published and never changed.

The names are storage formats. A class may be renamed; the literal in EVENT_TYPES may not.
"""

import re
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, Raw, Struct, UnsetType

EMAIL_MAX: Final = 254
PHONE: Final = re.compile(r"\+[1-9][0-9]{1,14}")
NAME_MAX: Final = 300
COMPANY_MAX: Final = 500
EXTERNAL_ID_MAX: Final = 255
TAGS_MAX: Final = 100
TAG_MAX: Final = 100
CUSTOM_FIELDS_MAX: Final = 100

Channel: TypeAlias = Literal["sms", "email", "voice", "do_not_disturb"]


class CustomerData(Struct, frozen=True, kw_only=True):
    """All that is known of a customer. Custom values are kept as sent, to every digit."""

    email: str | None = None
    phone: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    company_name: str | None = None
    external_id: str | None = None
    tags: tuple[str, ...] = ()
    custom_fields: dict[str, Raw] = {}
    communication_preferences: dict[Channel, bool] = {}


class PreviousData(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The values that changed fields had before; a field that did not change is not there."""

    email: str | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET
    first_name: str | UnsetType | None = UNSET
    last_name: str | UnsetType | None = UNSET
    company_name: str | UnsetType | None = UNSET
    external_id: str | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    custom_fields: dict[str, Raw] | UnsetType = UNSET
    communication_preferences: dict[Channel, bool] | UnsetType = UNSET


class CustomerCreated(Struct, frozen=True, kw_only=True):
    """A customer is known from now on."""

    customer: CustomerData
    changed_fields: tuple[str, ...]
    previous: PreviousData = PreviousData()
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None


class CustomerUpdated(Struct, frozen=True, kw_only=True):
    """Some fields changed; `customer` is the whole customer after it."""

    customer: CustomerData
    changed_fields: tuple[str, ...]
    previous: PreviousData
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None


class CustomerDeleted(Struct, frozen=True, kw_only=True):
    """The customer is gone from every answer; `customer` is what restoring would bring back."""

    customer: CustomerData
    changed_fields: tuple[str, ...] = ()
    previous: PreviousData = PreviousData()
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None


class CustomerRestored(Struct, frozen=True, kw_only=True):
    """A deleted customer is back, with the same id and history."""

    customer: CustomerData
    changed_fields: tuple[str, ...] = ()
    previous: PreviousData = PreviousData()
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None


class CustomerErased(Struct, frozen=True, kw_only=True):
    """The person was forgotten: the events at these positions can no longer be read."""

    positions: tuple[int, ...] = ()
    """Empty as it is published: they would tell a workspace how much the others write."""


CustomerEvent: TypeAlias = (
    CustomerCreated | CustomerUpdated | CustomerDeleted | CustomerRestored | CustomerErased
)

EVENT_TYPES: dict[str, type[CustomerEvent]] = {
    "CustomerCreated": CustomerCreated,
    "CustomerUpdated": CustomerUpdated,
    "CustomerDeleted": CustomerDeleted,
    "CustomerRestored": CustomerRestored,
    "CustomerErased": CustomerErased,
}
