"""From the members of a request body to the changes they ask for, or everything wrong with them.

Values are never coerced. Both spellings of a name are taken, unless they differ. That the text is
JSON without surrogates and control characters but tab and newline was checked before.
"""

import re
import sys
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from email_validator import EmailNotValidError, validate_email
from msgspec import Raw, Struct

from command_side.commands import CustomerChanges
from events.customer import Channel
from runtime.field_error import FieldError, escape_pointer
from runtime.text import fold_case

EMAIL_MAX: Final = 254
NAME_MAX: Final = 300
COMPANY_MAX: Final = 500
EXTERNAL_ID_MAX: Final = 255
TAGS_MAX: Final = 100
TAG_MAX: Final = 100
CHANNELS: Final = ("sms", "email", "voice", "do_not_disturb")

_PHONE: Final = re.compile(r"\+[1-9][0-9]{1,14}")
# Addresses that email-validator certainly accepts; everything else asks it, at 170 µs each.
_PLAIN_EMAIL: Final = re.compile(
    r"[a-z0-9]+(?:[._+-][a-z0-9]+){0,4}@(?:[a-z0-9]{1,30}\.){1,3}[a-z]{2,20}",
    re.ASCII | re.IGNORECASE,
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Fault(Struct, frozen=True):
    """One rule of a field that a value breaks; `path` is a JSON pointer below the field."""

    error: str
    code: str
    path: str = ""


class Refused(Exception):
    """A value breaks rules of its field; all of them."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*(fault.error for fault in faults))
        self.faults = faults


class Reading(Struct, frozen=True, kw_only=True):
    """What a request's members say."""

    changes: CustomerChanges
    """Without the fields that have an error."""
    errors: tuple[FieldError, ...]
    unknown: tuple[str, ...]
    """Members that are no fields: ignored, and named in the answer's warnings."""


def read_changes(members: dict[str, Raw], pointer: str = "") -> Reading:
    """Read the members of one customer; `pointer` says where in the body they stand."""
    values: dict[str, object] = {}
    errors: list[FieldError] = []
    spelled: dict[str, str] = {}
    unknown: list[str] = []
    contradicted: set[str] = set()
    for member, raw in members.items():
        name = _SPELLINGS.get(member)
        if name is None:
            unknown.append(member)
            continue
        try:
            value = _READERS[name](raw)
        except Refused as refused:
            errors.extend(_field_error(member, fault, pointer) for fault in refused.faults)
            continue
        if values.setdefault(name, value) != value:
            other = Fault(f"Differs from {spelled[name]}; send one of the two.", "two_spellings")
            errors.append(_field_error(member, other, pointer))
            contradicted.add(name)
        spelled[name] = member
    return Reading(
        changes=CustomerChanges(
            **{name: cast(Any, value) for name, value in values.items() if name not in contradicted}
        ),
        errors=tuple(errors),
        unknown=tuple(unknown),
    )


def read_external_id(raw: Raw | None, pointer: str = "") -> str | FieldError:
    """The external_id of a bulk row, which must have one."""
    try:
        external_id = None if raw is None else _read_external_id(raw)
    except Refused as refused:
        return _field_error("external_id", refused.faults[0], pointer)
    if external_id is None:
        missing = Fault("A row needs an external_id: it decides whom it is about.", "required")
        return _field_error("external_id", missing, pointer)
    return external_id


def _field_error(member: str, fault: Fault, pointer: str) -> FieldError:
    return FieldError(
        field=member,
        error=fault.error,
        code=fault.code,
        pointer=f"{pointer}/{escape_pointer(member)}{fault.path}",
    )


def _read_text(raw: Raw, length_max: int) -> str | None:
    try:
        text = msgspec.json.decode(raw, type=str | None)
    except msgspec.ValidationError:
        raise Refused(Fault("Must be a string or null.", "wrong_type")) from None
    faults = [] if text is None else _text_faults(text, length_max)
    if faults:
        raise Refused(*faults)
    return text


def _text_faults(text: str, length_max: int, path: str = "") -> list[Fault]:
    faults: list[Fault] = []
    if len(text) > length_max:
        words = f"At most {length_max} characters, not {len(text)}."
        faults.append(Fault(words, "too_long", path))
    if _CONTROL.search(text):
        faults.append(Fault("Control characters are not allowed.", "control_character", path))
    return faults


def _read_email(raw: Raw) -> str | None:
    text = _read_text(raw, EMAIL_MAX)
    if text is None or not text.strip():
        return None
    if not _PLAIN_EMAIL.fullmatch(text):
        if "." not in text.rpartition("@")[2]:
            words = "An email needs an @-sign and behind it a domain with a dot."
            raise Refused(Fault(words, "invalid_email"))
        try:
            validate_email(text, check_deliverability=False, globally_deliverable=False)
        except EmailNotValidError as error:
            raise Refused(Fault(str(error), "invalid_email")) from None
    return text


def _read_phone(raw: Raw) -> str | None:
    text = _read_text(raw, sys.maxsize)
    if text is None or not text.strip():
        return None
    if not _PHONE.fullmatch(text):
        words = "Must be E.164: a plus, then 2 to 15 digits, nothing else; e.g. +15550001234."
        raise Refused(Fault(words, "invalid_phone"))
    return text


def _read_name(raw: Raw) -> str | None:
    return _read_text(raw, NAME_MAX)


def _read_company(raw: Raw) -> str | None:
    return _read_text(raw, COMPANY_MAX)


def _read_external_id(raw: Raw) -> str | None:
    text = _read_text(raw, EXTERNAL_ID_MAX)
    if text == "":
        raise Refused(Fault("At least 1 character.", "too_short"))
    return text


def _read_tags(raw: Raw) -> tuple[str, ...]:
    try:
        sent = msgspec.json.decode(raw, type=list[object] | None)
    except msgspec.ValidationError:
        raise Refused(Fault("Must be an array of strings, or null.", "wrong_type")) from None
    if sent is None:
        return ()
    faults: list[Fault] = []
    if len(sent) > TAGS_MAX:
        faults.append(Fault(f"At most {TAGS_MAX} tags, not {len(sent)}.", "too_many"))
    tags: dict[str, str] = {}
    for index, tag in enumerate(sent[:TAGS_MAX]):
        if not isinstance(tag, str):
            faults.append(Fault("A tag must be a string.", "wrong_type", f"/{index}"))
            continue
        trimmed = tag.strip(" ")
        faults.extend(_tag_faults(trimmed, f"/{index}"))
        tags.setdefault(fold_case(trimmed), trimmed)
    if faults:
        raise Refused(*faults)
    return tuple(tags.values())


def _tag_faults(tag: str, path: str) -> list[Fault]:
    faults = _text_faults(tag, TAG_MAX, path)
    if not tag.strip():
        faults.append(Fault("A tag must not be empty.", "too_short", path))
    if "," in tag:
        faults.append(Fault("A tag must not hold a comma: it separates.", "forbidden_comma", path))
    return faults


def _read_custom_fields(raw: Raw) -> dict[str, Raw] | None:
    try:
        sent = msgspec.json.decode(raw, type=dict[str, Raw] | None)
    except msgspec.ValidationError:
        raise Refused(Fault("Must be an object or null.", "wrong_type")) from None
    if sent is None:
        return None
    return {key: Raw(msgspec.json.format(bytes(value), indent=-1)) for key, value in sent.items()}


def _read_preferences(raw: Raw) -> dict[Channel, bool | None] | None:
    try:
        sent = msgspec.json.decode(raw, type=dict[str, object] | None)
    except msgspec.ValidationError:
        raise Refused(Fault("Must be an object of booleans, or null.", "wrong_type")) from None
    if sent is None:
        return None
    faults: list[Fault] = []
    for key, value in sent.items():
        path = f"/{escape_pointer(key)}"
        if key not in CHANNELS:
            words = f"There is no channel of this name; there are {', '.join(CHANNELS)}."
            faults.append(Fault(words, "unknown_key", path))
        elif value is not None and not isinstance(value, bool):
            faults.append(Fault("Must be true, false or null.", "wrong_type", path))
    if faults:
        raise Refused(*faults)
    return cast(dict[Channel, bool | None], sent)


_READERS: Final[dict[str, Callable[[Raw], object]]] = {
    "email": _read_email,
    "phone": _read_phone,
    "first_name": _read_name,
    "last_name": _read_name,
    "company_name": _read_company,
    "external_id": _read_external_id,
    "tags": _read_tags,
    "custom_fields": _read_custom_fields,
    "communication_preferences": _read_preferences,
}
_SPELLINGS: Final = {name: name for name in _READERS} | {
    "firstName": "first_name",
    "lastName": "last_name",
    "companyName": "company_name",
}
