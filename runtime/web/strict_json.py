"""JSON as strict as it can be: what two readers could understand differently is refused.

msgspec judges the syntax and splits an object into its members as they were sent; the standard
library's scanner then finds what msgspec lets pass. Only a suspicious text is searched in Python.
"""

import json
import re
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import NoReturn, TypeAlias

import msgspec
from msgspec import Raw

from runtime.field_error import FieldError, escape_pointer
from runtime.web.problems import ApiError

DEEPEST = 100
_TOLD_FAULTS = 20
_LONGEST_POINTER = 500

_OBJECT = msgspec.json.Decoder(dict[str, Raw])

# Control characters but tab and newline, and surrogates, bare or escaped.
_SUSPECT = re.compile(r"\\u(?:00[01789]|d[89a-f])|\\[bfr]|[\x7f-\x9f]", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Possessive, and the end quote optional: a text of nothing but quotes costs no more than another.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
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

# As the tree decoder gives it: objects as tuples of their pairs, numbers as their text.
_Tree: TypeAlias = "tuple[tuple[str, _Tree], ...] | list[_Tree] | str | bool | None"


class _TwiceError(Exception):
    pass


def _refuse_doubles(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _TwiceError


# Numbers stay text: reading a million digits would cost, and Python refuses 4,301 of them.
_SCANNER = json.JSONDecoder(object_pairs_hook=_refuse_doubles, parse_int=str, parse_float=str)
_TREE = json.JSONDecoder(object_pairs_hook=tuple, parse_int=str, parse_float=str)


def parse_object(body: bytes, *, pointer: str = "") -> dict[str, Raw]:
    """The members of a JSON object, their values exactly as sent; raises ApiError 400.

    `pointer` is where the object stands in the whole body, for a row of a bulk call.
    """
    text = read_text(body)
    _check_depth(text, pointer)
    try:
        members = _OBJECT.decode(body)
        _SCANNER.decode(text)
    except (msgspec.DecodeError, json.JSONDecodeError) as error:
        _refuse_text(text, error, pointer)
    except _TwiceError:
        refuse(_faults(text, pointer))
    if _is_suspicious(text):
        faults = _faults(text, pointer)
        if faults:
            refuse(faults)
    return members


def read_text(body: bytes) -> str:
    """The text of a body; raises ApiError 400 when it is empty or not UTF-8."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        words = f"The body is not UTF-8: its byte {error.start} fits nowhere. Send JSON in UTF-8."
        refuse([fault(words, "invalid_utf8", "")])
    if not text or text.isspace():
        refuse([fault("The body is empty; send JSON.", "empty_body", "")])
    if text[0] == "\ufeff":
        words = "The body begins with a byte order mark; send the JSON without it."
        refuse([fault(words, "invalid_json", "")])
    return text


def _check_depth(text: str, pointer: str) -> None:
    if text.count("[") + text.count("{") <= DEEPEST:
        return
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text))
    if max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets)) > DEEPEST:
        refuse_depth(pointer)


def _is_suspicious(text: str) -> bool:
    # Most texts are plain ASCII without an escape, and three looks at memory tell.
    if text.isascii() and "\\" not in text and "\x7f" not in text:
        return False
    return _SUSPECT.search(text) is not None


def _faults(text: str, pointer: str) -> list[FieldError]:
    tree: _Tree = _TREE.decode(text)
    return list(islice(_find_faults(tree, pointer, ""), _TOLD_FAULTS))


def _find_faults(tree: _Tree, pointer: str, field: str) -> Iterator[FieldError]:
    """Every doubled member and every character that cannot be kept, in the order of the text."""
    if isinstance(tree, str):
        words = _unkept(tree)
        if words is not None:
            yield fault(f"The value holds {words[0]}.", words[1], pointer, field)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _find_faults(value, _below(pointer, str(index)), field)
    elif isinstance(tree, tuple):
        seen: set[str] = set()
        for name, value in tree:
            inner = _below(pointer, name)
            words = _unkept(name)
            if words is not None:
                yield fault(f"The name holds {words[0]}.", words[1], inner, field or name)
            if name in seen:
                error = "The member is there twice; which one counts cannot be known."
                yield fault(error, "duplicate_key", inner, field or name)
            seen.add(name)
            yield from _find_faults(value, inner, field or name)


def _below(pointer: str, name: str) -> str:
    # One too long to be told grows no further: a long name over many values would cost seconds.
    if len(pointer) > _LONGEST_POINTER:
        return pointer
    return f"{pointer}/{escape_pointer(name)}"


def _unkept(text: str) -> tuple[str, str] | None:
    if _SURROGATE.search(text):
        return "half of a surrogate pair, which is no character", "lone_surrogate"
    found = _FORBIDDEN.search(text)
    if found is None:
        return None
    return f"the control character U+{ord(found[0]):04X}", "control_character"


def _refuse_text(text: str, error: Exception, pointer: str) -> NoReturn:
    if isinstance(error, msgspec.ValidationError):
        kind = _KINDS.get(text.lstrip()[0], "a number")
        words = f"A JSON object is wanted, not {kind}."
        refuse([fault(words, "not_an_object", pointer)])
    # msgspec takes half of a surrogate pair for bad syntax; it is better said as what it is.
    try:
        faults = _faults(text, pointer)
    except json.JSONDecodeError:
        faults = []
    if faults:
        refuse(faults)
    refuse_syntax(text, error, pointer)


def refuse_syntax(text: str, error: Exception, pointer: str = "") -> NoReturn:
    """400: this is not JSON, with the line and column at which it stops being JSON."""
    if isinstance(error, json.JSONDecodeError):
        words, before = error.msg, text[: error.pos]
    else:
        match = _MALFORMED.fullmatch(str(error))
        words = match[1] if match else "it ends too early"
        before = text.encode()[: int(match[2])].decode(errors="ignore") if match else text
    line = before.count("\n") + 1
    column = len(before) - before.rfind("\n")
    sentence = f"This is not JSON: {words} (line {line}, column {column})."
    refuse([fault(sentence, "invalid_json", pointer)])


def refuse_depth(pointer: str = "") -> NoReturn:
    """400: nested deeper than anybody means."""
    refuse([fault(f"This is nested deeper than {DEEPEST} levels.", "too_deep", pointer)])


def refuse(faults: list[FieldError]) -> NoReturn:
    """400 with all the faults, the first one's sentence as the message."""
    raise ApiError(400, faults[0].error, errors=faults)


def fault(error: str, code: str, pointer: str, field: str = "") -> FieldError:
    """A fault in a body; names that could not be printed are made printable, long ones cut."""
    return FieldError(
        field=_printable(field)[:100] or "body",
        error=error,
        code=code,
        pointer=_printable(pointer) if len(pointer) <= _LONGEST_POINTER else None,
    )


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
