"""From the members of a request body to the changes they ask for, or everything wrong with them.

Values are never coerced. Both spellings of a name are taken, unless they differ. That the text is
JSON without surrogates and control characters but tab and newline was checked before.

This decides what a customer may be. Most bodies never come here: `quick_fields` takes those about
which nothing is unusual.
"""

import re
import sys
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from msgspec import Raw, Struct

from command_side.commands import CustomerChanges
from command_side.emails import email_fault
from events.customer import (
    COMPANY_MAX,
    EMAIL_MAX,
    EXTERNAL_ID_MAX,
    NAME_MAX,
    PHONE,
    TAG_MAX,
    TAGS_MAX,
    Channel,
)
from runtime.field_error import FieldError, escape_pointer
from runtime.text import CONTROL, fold_case
from runtime.web.ignored import tell_first

VERSION_MAX: Final = 2**31 - 1
CHANNELS: Final = ("sms", "email", "voice", "do_not_disturb")

_TEXT: Final = msgspec.json.Decoder(str | None)
_WHOLE: Final = msgspec.json.Decoder(int)
_LIST: Final = msgspec.json.Decoder(list[object] | None)
_VALUES: Final = msgspec.json.Decoder(dict[str, Raw] | None)
_OBJECT: Final = msgspec.json.Decoder(dict[str, object] | None)

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_NOT_PLAIN: Final = re.compile(rb"[ \t\r\n\\]")


class BrokenRule(Struct, frozen=True):
    """One rule of a field that a value breaks; `path` is a JSON pointer below the field."""

    error: str
    code: str
    path: str = ""


class Refused(Exception):
    """A value breaks rules of its field; all of them."""

    def __init__(self, *rules: BrokenRule) -> None:
        super().__init__(*(rule.error for rule in rules))
        self.rules = rules


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
        name = SPELLINGS.get(member)
        if name is None:
            unknown.append(member)
            continue
        try:
            value = _READERS[name](raw)
        except Refused as refused:
            errors.extend(_field_error(member, rule, pointer) for rule in refused.rules)
            continue
        if values.setdefault(name, value) != value:
            other = BrokenRule(
                f"Differs from {spelled[name]}; send one of the two.", "two_spellings"
            )
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
        return _field_error("external_id", refused.rules[0], pointer)
    if external_id is None:
        missing = BrokenRule("A row needs an external_id: it decides whom it is about.", "required")
        return _field_error("external_id", missing, pointer)
    return external_id


def read_if_version(raw: Raw | None, pointer: str = "") -> int | FieldError | None:
    """The version that the customer of a bulk row must have, when the row says one."""
    if raw is None:
        return None
    try:
        version = _WHOLE.decode(raw)
    except msgspec.ValidationError:
        wrong = BrokenRule(
            "Must be a whole number: the version that the customer has.", "wrong_type"
        )
        return _field_error("if_version", wrong, pointer)
    if not 1 <= version <= VERSION_MAX:
        wrong = BrokenRule(f"Versions go from 1 to {VERSION_MAX}.", "out_of_range")
        return _field_error("if_version", wrong, pointer)
    return version


def _field_error(member: str, rule: BrokenRule, pointer: str) -> FieldError:
    return FieldError(
        field=member,
        error=rule.error,
        code=rule.code,
        pointer=f"{pointer}/{escape_pointer(member)}{rule.path}",
    )


def _read_text(raw: Raw, length_max: int) -> str | None:
    try:
        text = _TEXT.decode(raw)
    except msgspec.ValidationError:
        raise Refused(BrokenRule("Must be a string or null.", "wrong_type")) from None
    broken = [] if text is None else _broken_by_text(text, length_max)
    if broken:
        raise Refused(*broken)
    return text


def _broken_by_text(text: str, length_max: int, path: str = "") -> list[BrokenRule]:
    broken: list[BrokenRule] = []
    if len(text) > length_max:
        message = f"At most {length_max} characters, not {len(text)}."
        broken.append(BrokenRule(message, "too_long", path))
    if CONTROL.search(text):
        broken.append(BrokenRule("Control characters are not allowed.", "control_character", path))
    return broken


def _read_email(raw: Raw) -> str | None:
    text = _read_text(raw, EMAIL_MAX)
    if text is None or not text.strip():
        return None
    fault = email_fault(text)
    if fault is not None:
        raise Refused(BrokenRule(fault, "invalid_email"))
    return text


def _read_phone(raw: Raw) -> str | None:
    text = _read_text(raw, sys.maxsize)
    if text is None or not text.strip():
        return None
    if not PHONE.fullmatch(text):
        message = "Must be E.164: a plus, then 2 to 15 digits, nothing else; e.g. +15550001234."
        raise Refused(BrokenRule(message, "invalid_phone"))
    return text


def _read_name(raw: Raw) -> str | None:
    return _read_text(raw, NAME_MAX)


def _read_company(raw: Raw) -> str | None:
    return _read_text(raw, COMPANY_MAX)


def _read_external_id(raw: Raw) -> str | None:
    text = _read_text(raw, EXTERNAL_ID_MAX)
    if text == "":
        raise Refused(BrokenRule("At least 1 character.", "too_short"))
    return text


def _read_tags(raw: Raw) -> tuple[str, ...]:
    try:
        sent = _LIST.decode(raw)
    except msgspec.ValidationError:
        raise Refused(BrokenRule("Must be an array of strings, or null.", "wrong_type")) from None
    if sent is None:
        return ()
    broken: list[BrokenRule] = []
    if len(sent) > TAGS_MAX:
        broken.append(BrokenRule(f"At most {TAGS_MAX} tags, not {len(sent)}.", "too_many"))
    tags: dict[str, str] = {}
    for index, tag in enumerate(sent[:TAGS_MAX]):
        if not isinstance(tag, str):
            broken.append(BrokenRule("A tag must be a string.", "wrong_type", f"/{index}"))
            continue
        # What would be trimmed and must not be there is told, not lost.
        trimmed = tag if CONTROL.search(tag) else tag.strip()
        broken.extend(_broken_by_tag(trimmed, f"/{index}"))
        tags.setdefault(fold_case(trimmed), trimmed)
    if broken:
        raise Refused(*broken)
    return tuple(tags.values())


def _broken_by_tag(tag: str, path: str) -> list[BrokenRule]:
    broken = _broken_by_text(tag, TAG_MAX, path)
    if not tag.strip():
        broken.append(BrokenRule("A tag must not be empty.", "too_short", path))
    if "," in tag:
        broken.append(
            BrokenRule("A tag must not hold a comma: it separates.", "forbidden_comma", path)
        )
    return broken


def _read_custom_fields(raw: Raw) -> dict[str, Raw] | None:
    try:
        sent = _VALUES.decode(raw)
    except msgspec.ValidationError:
        raise Refused(BrokenRule("Must be an object or null.", "wrong_type")) from None
    if sent is None:
        return None
    return plain_values(sent)


def plain_values(sent: dict[str, Raw]) -> dict[str, Raw]:
    """The same values without white space and needless escapes, so that equal ones are the same."""
    return {key: _plain_json(value) for key, value in sent.items()}


def _plain_json(value: Raw) -> Raw:
    if not _NOT_PLAIN.search(value):
        return value
    plain = msgspec.json.format(bytes(value), indent=-1)
    if b"\\" in plain:
        plain = _STRING.sub(_plain_string, plain)
    return Raw(plain)


def _plain_string(match: re.Match[bytes]) -> bytes:
    text = match[0]
    return msgspec.json.encode(msgspec.json.decode(text)) if b"\\" in text else text


def _read_preferences(raw: Raw) -> dict[Channel, bool | None] | None:
    try:
        sent = _OBJECT.decode(raw)
    except msgspec.ValidationError:
        raise Refused(BrokenRule("Must be an object of booleans, or null.", "wrong_type")) from None
    if sent is None:
        return None
    unknown = [key for key in sent if key not in CHANNELS]
    broken = tell_first(unknown, _no_channel, _more_no_channels)
    broken += [
        BrokenRule("Must be true, false or null.", "wrong_type", f"/{channel}")
        for channel in CHANNELS
        if not isinstance(sent.get(channel), bool | None)
    ]
    if broken:
        raise Refused(*broken)
    return cast(dict[Channel, bool | None], sent)


def _no_channel(name: str) -> BrokenRule:
    message = f"There is no channel of this name; there are {', '.join(CHANNELS)}."
    return BrokenRule(message, "unknown_key", f"/{escape_pointer(name)}")


def _more_no_channels(rest: int) -> BrokenRule:
    return BrokenRule(f"{rest} more are no channels.", "unknown_key")


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
SPELLINGS: Final = {name: name for name in _READERS} | {
    "firstName": "first_name",
    "lastName": "last_name",
    "companyName": "company_name",
}
