"""The rows of a bulk body, split without looking into them: a bad row fails alone."""

import json
import re
from typing import NoReturn

from msgspec import Struct

from runtime.web.strict_json import (
    fault,
    parse_object,
    read_text,
    refuse,
    refuse_depth,
    refuse_syntax,
)

_GAP = re.compile(r"[ \t\r\n]*")
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")


class Rows(Struct, frozen=True, kw_only=True):
    """The rows as they were sent, each for `parse_object` to judge."""

    rows: list[bytes]
    pointer: str  # what stands before `/<index>` in the pointer of a row
    others: list[str]  # names of the members beside the rows


def _refuse_constant(name: str) -> NoReturn:
    words = f"{name} is no number that JSON knows."
    refuse([fault(words, "invalid_json", "")])


def _forget(_: list[tuple[str, object]]) -> None:
    return None


# Finds where a value ends; what is in it is not kept.
_SKIP = json.JSONDecoder(
    object_pairs_hook=_forget, parse_int=str, parse_float=str, parse_constant=_refuse_constant
)


def parse_rows(body: bytes, *, member: str, most: int) -> Rows:
    """The rows of `[…]` or of `{"<member>": […]}`; raises ApiError 400, also for none or too many.

    Depth, doubled names and characters of a row are left to `parse_object`, row by row.
    """
    text = read_text(body)
    at = _skip_gap(text, 0)
    try:
        if text[at] == "[":
            return _parse_bare(text, at, most)
        return _parse_wrapper(text, member, most)
    except json.JSONDecodeError as error:
        refuse_syntax(text, error)
    except RecursionError:
        refuse_depth()


def _parse_bare(text: str, at: int, most: int) -> Rows:
    rows, end = _split(text, at, "", most)
    rest = _skip_gap(text, end)
    if rest < len(text):
        raise json.JSONDecodeError("trailing characters", text, rest)
    return Rows(rows=rows, pointer="", others=[])


def _parse_wrapper(text: str, member: str, most: int) -> Rows:
    span = _find_member(text, member)
    if span is None:
        parse_object(text.encode())
        words = f"The body has no {member}: send an array of rows, or an object with one."
        refuse([fault(words, "required", f"/{member}", member)])
    if text[span] != "[":
        parse_object(text.encode())
        refuse([fault(f"{member} must be an array of rows.", "wrong_type", f"/{member}", member)])
    rows, end = _split(text, span, member, most)
    # The rows cut out, the rest is an object like any other.
    others = parse_object(f"{text[:span]}0{text[end:]}".encode())
    return Rows(rows=rows, pointer=f"/{member}", others=[name for name in others if name != member])


def _find_member(text: str, member: str) -> int | None:
    """Where the value of an object's first member of that name begins; None when not found.

    Nothing is judged here: what is no object, or no JSON, has no member.
    """
    at = _skip_gap(text, 0)
    if text[at] != "{":
        return None
    at = _skip_gap(text, at + 1)
    while text.startswith('"', at):
        name, at = _SKIP.raw_decode(text, at)
        colon = _COLON.match(text, at)
        if colon is None:
            return None
        if name == member:
            return colon.end() if colon.end() < len(text) else None
        at = _skip_gap(text, _SKIP.raw_decode(text, colon.end())[1])
        at = _skip_gap(text, at + 1) if text.startswith(",", at) else len(text)
    return None


def _split(text: str, at: int, member: str, most: int) -> tuple[list[bytes], int]:
    """The elements of the array that begins at `at`, and the place behind it."""
    rows: list[bytes] = []
    at = _skip_gap(text, at + 1)
    while rows or not text.startswith("]", at):
        end = _SKIP.raw_decode(text, at)[1]
        rows.append(text[at:end].encode())
        at = _skip_gap(text, end)
        if len(rows) > most or text.startswith("]", at):
            break
        if not text.startswith(",", at):
            raise json.JSONDecodeError("expected ',' or ']'", text, at)
        at = _skip_gap(text, at + 1)
    if not 1 <= len(rows) <= most:
        given = "none" if not rows else "more"
        words = f"A bulk call takes 1 to {most} rows; these are {given}."
        refuse([fault(words, "row_count", f"/{member}" if member else "", member)])
    return rows, at + 1


def _skip_gap(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap else at
