"""JSON as strict as it can be: what two readers could understand differently is refused.

msgspec judges the syntax and splits an object into its members as they were sent; the standard
library's scanner then finds what msgspec lets pass. Only a suspicious text is searched in Python.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Final, NoReturn

import msgspec
from msgspec import Raw

from runtime.field_error import FieldError
from runtime.web.json_faults import Tree, fault, find_faults
from runtime.web.problems import ApiError

DEEPEST = 100
MARKS_MAX: Final = 100_000
"""So many members, objects and arrays may a body of many rows have in all."""
_FAULTS_MAX = 20

_OBJECT = msgspec.json.Decoder(dict[str, Raw])

# Control characters but tab and newline, and surrogates, bare or escaped.
_SUSPECT = re.compile(r"\\u(?:00[01789]|d[89a-f])|\\[bfr]|[\x7f-\x9f]", re.IGNORECASE)
_HIGH_CONTROL = re.compile(r"[\x7f-\x9f]")
# Possessive, and the end quote optional: a text of nothing but quotes costs no more than another.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_GAP = re.compile(r"[ \t\r\n]*")
_NO_BRACKET = re.compile(r"[^][{}]+")
_MALFORMED = re.compile(r"JSON is malformed: (.+) \(byte (\d+)\)")
_KINDS = {
    "[": "an array",
    "{": "an object",
    '"': "a string",
    "t": "true",
    "f": "false",
    "n": "null",
}


class _TwiceError(Exception):
    pass


def _refuse_doubles(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _TwiceError


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no number that JSON knows."
    refuse([fault(message, "invalid_json", "")])


def _forget(_: list[tuple[str, object]]) -> None:
    return None


# Numbers stay text: reading a million digits would cost, and Python refuses 4,301 of them.
_SCANNER = json.JSONDecoder(object_pairs_hook=_refuse_doubles, parse_int=str, parse_float=str)
_TREE = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=str, parse_float=str, parse_constant=_refuse_constant
)
# Finds where a value ends; what is in it is not kept.
SKIP: Final = json.JSONDecoder(
    object_pairs_hook=_forget, parse_int=str, parse_float=str, parse_constant=_refuse_constant
)


def read_members(body: bytes, *, pointer: str = "") -> tuple[dict[str, Raw], list[FieldError]]:
    """The sound members of a JSON object, as sent, and every fault of the others.

    To answer all faults at once, judge the members, then refuse with both kinds of errors.
    `pointer` is where the object stands in the whole body, for a row of a bulk call.
    A member has a fault, and is not handed on, when it is there twice or holds, however deep,
    a name twice, a control character or half of a surrogate pair. Raises ApiError 400 for what
    cannot be split into members: no JSON, no UTF-8, no object, nested too deep.
    """
    text = read_text(body)
    _check_depth(text, pointer)
    try:
        members = _OBJECT.decode(body)
        _SCANNER.decode(text)
    except msgspec.ValidationError:
        _refuse_kind(text, pointer)
    except (msgspec.DecodeError, json.JSONDecodeError) as error:
        return _split_unreadable(text, pointer, error)
    except _TwiceError:
        return _split(text, pointer)
    if _is_suspicious(text):
        sound, faults = _split(text, pointer)
        if faults:
            return sound, faults
    return members, []


def read_text(body: bytes) -> str:
    """The text of a body; raises ApiError 400 when it is empty or not UTF-8."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: its byte {error.start} fits nowhere. Send JSON in UTF-8."
        refuse([fault(message, "invalid_utf8", "")])
    if not text or text.isspace():
        refuse([fault("The body is empty; send JSON.", "empty_body", "")])
    if text[0] == "\ufeff":
        message = "The body begins with a byte order mark; send the JSON without it."
        refuse([fault(message, "invalid_json", "")])
    return text


def refuse_costly(text: str) -> None:
    """400 for a text that would keep everybody else waiting while it is read.

    A megabyte of brackets costs as much as a hundred megabytes of customers.
    """
    if _count_marks(text) <= MARKS_MAX:
        return
    bare = _STRING.sub("", text)
    if _count_marks(bare) <= MARKS_MAX:
        return
    if _is_too_deep(bare[:MARKS_MAX]):
        refuse_depth()
    message = f"The body has more than {MARKS_MAX} members, objects and arrays; send it in parts."
    refuse([fault(message, "too_many", "")])


def _count_marks(text: str) -> int:
    return text.count("[") + text.count("{") + text.count(":")


def _check_depth(text: str, pointer: str) -> None:
    if not _is_certainly_shallow(text) and _is_too_deep(_STRING.sub("", text)):
        refuse_depth(pointer)


def _is_too_deep(bare: str) -> bool:
    """Whether the brackets of a text without strings are nested too deep."""
    steps = (1 if bracket in "[{" else -1 for bracket in _NO_BRACKET.sub("", bare))
    return any(depth > DEEPEST for depth in accumulate(steps))


def _is_certainly_shallow(text: str) -> bool:
    return text.count("[") + text.count("{") <= DEEPEST


def is_certainly_plain(text: str) -> bool:
    """Whether a JSON text holds no control character, tab and newline among them, and no half of a
    surrogate pair, and is not nested too deep. It may be plain all the same when this says no.
    """
    return _is_certainly_shallow(text) and not (
        _is_suspicious(text) or "\\n" in text or "\\t" in text
    )


def has_doubled_names(text: str) -> bool:
    """Whether some object of a well-formed text, however deep, has two members of one name."""
    try:
        _SCANNER.decode(text)
    except _TwiceError:
        return True
    return False


def _is_suspicious(text: str) -> bool:
    # Bare ones below the space are bad syntax; without an escape only those above are left.
    if "\\" in text:
        return _SUSPECT.search(text) is not None
    return "\x7f" in text if text.isascii() else _HIGH_CONTROL.search(text) is not None


def _split_unreadable(
    text: str, pointer: str, error: Exception
) -> tuple[dict[str, Raw], list[FieldError]]:
    # msgspec takes half of a surrogate pair for bad syntax; its own error says more.
    try:
        members, faults = _split(text, pointer)
    except json.JSONDecodeError:
        refuse_syntax(text, error, pointer)
    if not faults:
        refuse_syntax(text, error, pointer)
    return members, faults


def _split(text: str, pointer: str) -> tuple[dict[str, Raw], list[FieldError]]:
    """The members without a fault, and the faults; when there are none, no members either."""
    tree: Tree = _TREE.decode(text)
    if not isinstance(tree, tuple):
        _refuse_kind(text, pointer)
    found = find_faults(tree, pointer, "")
    faults = list(islice(found, _FAULTS_MAX))
    if not faults:
        return {}, faults
    if any(found):
        # How many is not counted: a body can hold a million.
        faults.append(fault("There is more of this kind after these.", "too_many", pointer))
    times = Counter(name for name, _ in tree)
    sound = {
        member[0]
        for member in tree
        if times[member[0]] == 1 and not any(find_faults((member,), pointer, ""))
    }
    return {name: value for name, value in _values(text) if name in sound}, faults


def _values(text: str) -> Iterator[tuple[str, Raw]]:
    """The members of an object that is known to be well-formed, each value as it was sent."""
    at = skip_gap(text, skip_gap(text, 0) + 1)
    while text[at] != "}":
        name, at = SKIP.raw_decode(text, at)
        start = skip_gap(text, skip_gap(text, at) + 1)
        end = SKIP.raw_decode(text, start)[1]
        yield name, Raw(text[start:end].encode())
        at = skip_gap(text, end)
        if text[at] == ",":
            at = skip_gap(text, at + 1)


def _refuse_kind(text: str, pointer: str) -> NoReturn:
    kind = _KINDS.get(text.lstrip()[0], "a number")
    refuse([fault(f"A JSON object is wanted, not {kind}.", "not_an_object", pointer)])


def refuse_syntax(text: str, error: Exception, pointer: str = "") -> NoReturn:
    """400: this is not JSON, with the line and column at which it stops being JSON."""
    if isinstance(error, json.JSONDecodeError):
        reason, before = error.msg, text[: error.pos]
    else:
        match = _MALFORMED.fullmatch(str(error))
        reason = match[1] if match else "it ends too early"
        before = text.encode()[: int(match[2])].decode(errors="ignore") if match else text
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    sentence = f"This is not JSON: {reason} (line {line}, column {column})."
    refuse([fault(sentence, "invalid_json", pointer)])


def refuse_depth(pointer: str = "") -> NoReturn:
    """400: nested deeper than anybody means."""
    refuse([fault(f"This is nested deeper than {DEEPEST} levels.", "too_deep", pointer)])


def skip_gap(text: str, at: int) -> int:
    """The place where the white space at `at` ends."""
    gap = _GAP.match(text, at)
    return gap.end() if gap else at


def refuse(faults: list[FieldError]) -> NoReturn:
    """400 with all the faults, the first one's sentence as the message."""
    raise ApiError(400, faults[0].error, errors=faults)
