"""From the members of a request body to the changes they ask for, or everything wrong with them.

Values are never coerced. Both spellings of a name are taken, unless they differ. That the text is
JSON without surrogates and control characters but tab and newline was checked before.
"""

import re
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from email_validator import EmailNotValidError, validate_email
from msgspec import Raw, Struct

from command_side.commands import CustomerChanges
from command_side.customer import rules_broken
from events.customer import Channel
from runtime.field_error import FieldError

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


class Refused(Exception):
    """A value breaks a rule of its field."""

    def __init__(self, error: str, code: str, path: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.code = code
        self.path = path
        """Where below the field, as a JSON pointer."""


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
    for member, raw in members.items():
        name = _SPELLINGS.get(member)
        if name is None:
            unknown.append(member)
            continue
        try:
            value = _READERS[name](raw)
        except Refused as refused:
            errors.append(_field_error(member, refused, pointer))
            continue
        if values.setdefault(name, value) != value:
            other = Refused(f"Differs from {spelled[name]}; send one of the two.", "two_spellings")
            errors.append(_field_error(member, other, pointer))
        spelled[name] = member
    return Reading(
        changes=CustomerChanges(**cast(dict[str, Any], values)),
        errors=tuple(errors),
        unknown=tuple(unknown),
    )


def errors_of_new(reading: Reading, pointer: str = "") -> tuple[FieldError, ...]:
    """Everything that keeps a reading from becoming a customer of its own."""
    wrong = {_SPELLINGS[error.field] for error in reading.errors}
    return reading.errors + tuple(
        msgspec.structs.replace(error, pointer=f"{pointer}{error.pointer}")
        for error in rules_broken(reading.changes)
        if not wrong & {"email", "phone"} or error.code != "contact_required"
    )


def read_external_id(raw: Raw | None, pointer: str = "") -> str | FieldError:
    """The external_id of a bulk row, which must have one."""
    if raw is None:
        refused = Refused("A row needs an external_id: it decides whom it is about.", "required")
        return _field_error("external_id", refused, pointer)
    try:
        external_id = _read_external_id(raw)
    except Refused as refused:
        return _field_error("external_id", refused, pointer)
    if external_id is None:
        refused = Refused("A row needs an external_id, not null.", "required")
        return _field_error("external_id", refused, pointer)
    return external_id


def escape_pointer(member: str) -> str:
    """A member's name as one step of a JSON pointer (RFC 6901)."""
    return member.replace("~", "~0").replace("/", "~1")


def _field_error(member: str, refused: Refused, pointer: str) -> FieldError:
    return FieldError(
        field=member,
        error=refused.error,
        code=refused.code,
        pointer=f"{pointer}/{escape_pointer(member)}{refused.path}",
    )


def _read_text(raw: Raw, length_max: int) -> str | None:
    try:
        text = msgspec.json.decode(raw, type=str | None)
    except msgspec.ValidationError:
        raise Refused("Must be a string or null.", "wrong_type") from None
    if text is not None:
        _check_text(text, length_max)
    return text


def _check_text(text: str, length_max: int, path: str = "") -> None:
    if len(text) > length_max:
        raise Refused(f"At most {length_max} characters, not {len(text)}.", "too_long", path)
    if _CONTROL.search(text):
        raise Refused("Control characters are not allowed.", "forbidden_character", path)


def _read_email(raw: Raw) -> str | None:
    text = _read_text(raw, EMAIL_MAX)
    if text is None or not text.strip():
        return None
    if not _PLAIN_EMAIL.fullmatch(text):
        try:
            address = validate_email(text, check_deliverability=False, globally_deliverable=False)
        except EmailNotValidError as error:
            raise Refused(str(error), "invalid_email") from None
        if "." not in address.ascii_domain:
            raise Refused("The domain of an email needs a dot.", "invalid_email")
    return text


def _read_phone(raw: Raw) -> str | None:
    text = _read_text(raw, EMAIL_MAX)
    if text is None or not text.strip():
        return None
    if not _PHONE.fullmatch(text):
        raise Refused(
            "Must be E.164: a plus, then 2 to 15 digits, nothing else; e.g. +15550001234.",
            "invalid_phone",
        )
    return text


def _read_name(raw: Raw) -> str | None:
    return _read_text(raw, NAME_MAX)


def _read_company(raw: Raw) -> str | None:
    return _read_text(raw, COMPANY_MAX)


def _read_external_id(raw: Raw) -> str | None:
    text = _read_text(raw, EXTERNAL_ID_MAX)
    if text == "":
        raise Refused("At least 1 character; null means none.", "too_short")
    return text


def _read_tags(raw: Raw) -> tuple[str, ...]:
    try:
        sent = msgspec.json.decode(raw, type=list[object] | None)
    except msgspec.ValidationError:
        raise Refused("Must be an array of strings, or null.", "wrong_type") from None
    if sent is None:
        return ()
    if len(sent) > TAGS_MAX:
        raise Refused(f"At most {TAGS_MAX} tags, not {len(sent)}.", "too_many")
    tags: dict[str, str] = {}
    for index, tag in enumerate(sent):
        path = f"/{index}"
        if not isinstance(tag, str):
            raise Refused("A tag must be a string.", "wrong_type", path)
        trimmed = tag.strip()
        if not trimmed:
            raise Refused("A tag must not be empty.", "too_short", path)
        if "," in trimmed:
            raise Refused("A tag must not hold a comma: it separates.", "forbidden_character", path)
        _check_text(trimmed, TAG_MAX, path)
        tags.setdefault(trimmed.casefold(), trimmed)
    return tuple(tags.values())


def _read_custom_fields(raw: Raw) -> dict[str, Raw] | None:
    try:
        sent = msgspec.json.decode(raw, type=dict[str, Raw] | None)
    except msgspec.ValidationError:
        raise Refused("Must be an object or null.", "wrong_type") from None
    if sent is None:
        return None
    return {key: Raw(msgspec.json.format(bytes(value), indent=-1)) for key, value in sent.items()}


def _read_preferences(raw: Raw) -> dict[Channel, bool | None] | None:
    try:
        sent = msgspec.json.decode(raw, type=dict[str, object] | None)
    except msgspec.ValidationError:
        raise Refused("Must be an object of booleans, or null.", "wrong_type") from None
    if sent is None:
        return None
    for key, value in sent.items():
        if key not in CHANNELS:
            refused = f"{key!r} is no channel; there are {', '.join(CHANNELS)}."
            raise Refused(refused, "unknown_key", f"/{escape_pointer(key)}")
        if value is not None and not isinstance(value, bool):
            raise Refused(f"{key} must be true, false or null.", "wrong_type", f"/{key}")
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
