"""Unknown members of a body: warned about, or refused."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from command_side.customer import FIELDS
from events.document import CustomerDocument
from runtime.field_error import FieldError, escape_pointer
from runtime.web.ignored import shown, tell_first, warn_of_ignored
from runtime.web.json_faults import fault


class MemberKind(Struct, frozen=True, kw_only=True):
    """What the members of an object are called, and which of them the service alone sets."""

    one: str
    many: str
    server_owned: frozenset[str] = frozenset()


CUSTOMER: Final = MemberKind(
    one="field of a customer",
    many="fields of a customer",
    server_owned=frozenset(CustomerDocument.__struct_fields__) - frozenset(FIELDS),
)
BULK_BODY: Final = MemberKind(one="member of a bulk body", many="members of a bulk body")


def unknown_warnings(names: Sequence[str], kind: MemberKind = CUSTOMER) -> tuple[str, ...]:
    """What the answer says of members that were ignored."""
    return tuple(warn_of_ignored(names, partial(_ignored, kind), "members"))


def unknown_errors(
    names: Sequence[str], pointer: str = "", kind: MemberKind = CUSTOMER
) -> tuple[FieldError, ...]:
    """What is wrong with them when the client wants strictness."""
    refused, more = partial(_refused, kind, pointer), partial(_more_refused, kind, pointer)
    return tuple(tell_first(names, refused, more))


def _ignored(kind: MemberKind, name: str) -> str:
    if name in kind.server_owned:
        return f"{name} is set by the service and was ignored."
    return f"{shown(name)} is no {kind.one} and was ignored."


def _refused(kind: MemberKind, pointer: str, name: str) -> FieldError:
    place = f"{pointer}/{escape_pointer(name)}"
    if name in kind.server_owned:
        return fault("Set by the service; leave it out.", "read_only", place, name)
    return fault(f"No {kind.one} has this name.", "unknown_field", place, name)


def _more_refused(kind: MemberKind, pointer: str, rest: int) -> FieldError:
    return fault(f"{rest} more are no {kind.many}.", "unknown_field", pointer)
