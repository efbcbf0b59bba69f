"""What an event changed, field by field, for people who ask who knew what and since when. Pure."""

from collections.abc import Iterator
from typing import Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from events.customer import CustomerData, CustomerErased, CustomerEvent
from runtime.csv_cells import csv_line

_NOBODY: Final = CustomerData()
_KEYED: Final = ("custom_fields", "communication_preferences")
_TEXT: Final = b'"'


Value: TypeAlias = str | bool | tuple[str, ...] | Raw | None
"""Of a field, or of one of its keys."""


class Change(Struct, frozen=True, kw_only=True):
    """What a field was and is. Of a key that was added or removed there is only one of the two."""

    before: Value | UnsetType = field(name="from", default=UNSET)
    after: Value | UnsetType = field(name="to", default=UNSET)


class HistoryEntry(Struct, frozen=True, kw_only=True):
    """One thing that happened to a customer: when, by whom, why, and what it changed."""

    type: str
    version: int
    sequence: int
    time: str
    event_id: UUID
    api_key_id: UUID | None
    api_key_name: str | None
    actor: str | None
    reason: str | None
    request_id: str | None
    changes: dict[str, Change] | None
    """None: the customer was erased since, and nobody can know any more."""


CSV_COLUMNS: Final = (
    *("version", "sequence", "time", "type", "event_id", "api_key_id", "api_key_name"),
    *("actor", "reason", "request_id", "field", "from", "to"),
)


def changes_of(event: CustomerEvent) -> dict[str, Change]:
    """The fields that an event changed; those that hold keys are told key by key, `tags` whole."""
    if isinstance(event, CustomerErased):
        return {}
    changes: dict[str, Change] = {}
    for name in event.changed_fields:
        before, after = getattr(event.previous, name), getattr(event.customer, name)
        if before is UNSET:
            before = getattr(_NOBODY, name)
        if name in _KEYED:
            changes |= _changed_keys(name, before, after)
        else:
            changes[name] = Change(before=before, after=after)
    return changes


def _changed_keys(
    name: str, before: dict[str, Value], after: dict[str, Value]
) -> dict[str, Change]:
    """The keys in the order of the customer after it, then those that are gone."""
    changed = {
        f"{name}.{key}": Change(before=before.get(key, UNSET), after=value)
        for key, value in after.items()
        if before.get(key, UNSET) != value
    }
    gone = {
        f"{name}.{key}": Change(before=value) for key, value in before.items() if key not in after
    }
    return changed | gone


def csv_lines(entry: HistoryEntry) -> Iterator[bytes]:
    """A line for each field that changed; one without a field when none did."""
    what = [
        *(entry.version, entry.sequence, entry.time, entry.type, str(entry.event_id)),
        None if entry.api_key_id is None else str(entry.api_key_id),
        *(entry.api_key_name, entry.actor, entry.reason, entry.request_id),
    ]
    for name, change in (entry.changes or {None: Change()}).items():
        yield csv_line([*what, name, _cell(change.before), _cell(change.after)])


def _cell(value: Value | UnsetType) -> str | None:
    """A text as it is; everything else as JSON, numbers to the last digit.

    So is a text in `custom_fields` that is empty or reads as JSON: "5" is told from 5.
    """
    if value is None or isinstance(value, UnsetType):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, Raw) and bytes(value).startswith(_TEXT):
        text = msgspec.json.decode(value, type=str)
        return bytes(value).decode() if _reads_as_json(text) else text
    return msgspec.json.encode(value).decode()


def _reads_as_json(text: str) -> bool:
    if not text:
        return True
    try:
        msgspec.json.decode(text, type=Raw)
    except msgspec.DecodeError:
        return False
    except RecursionError:
        pass
    return True
