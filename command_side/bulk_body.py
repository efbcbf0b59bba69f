"""The rows of a bulk body, split without looking into them: a bad row fails alone."""

import json
import re
from typing import Final

import msgspec
from msgspec import Raw, Struct

from runtime.web.json_faults import fault
from runtime.web.problems import ApiError
from runtime.web.strict_json import (
    SKIP,
    read_members,
    read_text,
    refuse,
    refuse_costly,
    refuse_depth,
    refuse_syntax,
    skip_gap,
)

_ROWS: Final = msgspec.json.Decoder(list[Raw])
_COMMAS_PER_ROW: Final = 100
# The rows, and before and behind them what an object with nothing else has there.
_FRAME: Final = (
    rb'[ \t\r\n]*+(\{[ \t\r\n]*+"%b"[ \t\r\n]*+:[ \t\r\n]*+)?(\[.*\])'
    rb"[ \t\r\n]*+(?(1)\}[ \t\r\n]*+)"
)
_COLON = re.compile(r"[ \t\r\n]*:[ \t\r\n]*")
_NO_LINE_END = re.compile(r"[^\n]")
_BRACKET_OR_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)


class Rows(Struct, frozen=True, kw_only=True):
    """The rows as they were sent, each for `read_members` to judge."""

    rows: list[bytes]
    pointer: str  # what stands before `/<index>` in the pointer of a row
    others: list[str]  # names of the members beside the rows


def parse_rows(body: bytes, *, member: str, most: int) -> Rows:
    """The rows of `[…]` or of `{"<member>": […]}`; raises ApiError 400, also for none or too many.

    Depth, doubled names and characters of a row are left to `read_members`, row by row.
    """
    text = read_text(body)
    refuse_costly(text)
    quick = split_quickly(body, member, most)
    if quick is not None:
        return quick
    at = skip_gap(text, 0)
    try:
        if text[at] == "[":
            return _parse_bare(text, at, most)
        return _parse_wrapper(text, member, most)
    except json.JSONDecodeError as error:
        refuse_syntax(text, error)
    except RecursionError:
        refuse_depth()


def split_quickly(body: bytes, member: str, most: int) -> Rows | None:
    """The rows of a body that holds nothing beside them; None when that takes a closer look."""
    # All rows are split before they are counted, and two million of them would be felt.
    if body.count(b",") > most * _COMMAS_PER_ROW:
        return None
    frame = re.fullmatch(_FRAME % re.escape(member).encode(), body, flags=re.DOTALL)
    try:
        rows = [] if frame is None else _ROWS.decode(frame[2])
    except (msgspec.DecodeError, RecursionError):
        return None
    if frame is None or not 1 <= len(rows) <= most:
        return None
    pointer = "" if frame[1] is None else f"/{member}"
    return Rows(rows=[bytes(row) for row in rows], pointer=pointer, others=[])


def _parse_bare(text: str, at: int, most: int) -> Rows:
    rows, end = _split(text, at, "", most)
    rest = skip_gap(text, end)
    if rest < len(text):
        raise json.JSONDecodeError("trailing characters", text, rest)
    return Rows(rows=rows, pointer="", others=[])


def _parse_wrapper(text: str, member: str, most: int) -> Rows:
    span = _find_member(text, member)
    if span is None:
        _names(text)
        message = f"The body has no {member}: send an array of rows, or an object with one."
        refuse([fault(message, "required", f"/{member}", member)])
    if text[span] != "[":
        _names(text)
        refuse([fault(f"{member} must be an array of rows.", "wrong_type", f"/{member}", member)])
    rows, end = _split(text, span, member, most)
    # The rows cut out, the rest is an object like any other.
    try:
        others = _names(f"{text[:span]}0{text[end:]}")
    except ApiError:
        # As long as it was, so that line and column are right.
        gap = _NO_LINE_END.sub(" ", text[span + 1 : end])
        others = _names(f"{text[:span]}0{gap}{text[end:]}")
    return Rows(rows=rows, pointer=f"/{member}", others=[name for name in others if name != member])


def _names(text: str) -> list[str]:
    """The names of an object's members; raises ApiError 400 when anything is wrong with it."""
    members, faults = read_members(text.encode())
    if faults:
        refuse(faults)
    return list(members)


def _find_member(text: str, member: str) -> int | None:
    """Where the value of an object's first member of that name begins; None when not found.

    Nothing is judged here: what is no object, or no JSON, has no member.
    """
    at = skip_gap(text, 0)
    if text[at] != "{":
        return None
    at = skip_gap(text, at + 1)
    while text.startswith('"', at):
        name, at = SKIP.raw_decode(text, at)
        colon = _COLON.match(text, at)
        if colon is None:
            return None
        if name == member:
            return colon.end() if colon.end() < len(text) else None
        at = skip_gap(text, SKIP.raw_decode(text, colon.end())[1])
        at = skip_gap(text, at + 1) if text.startswith(",", at) else len(text)
    return None


def _end_of_value(text: str, at: int) -> int:
    """The place after the value that begins at `at`, however deep it is nested."""
    try:
        return SKIP.raw_decode(text, at)[1]
    except RecursionError:
        depth = 0
        for mark in _BRACKET_OR_STRING.finditer(text, at):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
            if depth == 0:
                return mark.end()
        raise


def _split(text: str, at: int, member: str, most: int) -> tuple[list[bytes], int]:
    """The elements of the array that begins at `at`, and the place after it."""
    rows: list[bytes] = []
    at = skip_gap(text, at + 1)
    while rows or not text.startswith("]", at):
        end = _end_of_value(text, at)
        rows.append(text[at:end].encode())
        at = skip_gap(text, end)
        if len(rows) > most or text.startswith("]", at):
            break
        if not text.startswith(",", at):
            raise json.JSONDecodeError("expected ',' or ']'", text, at)
        at = skip_gap(text, at + 1)
    if not 1 <= len(rows) <= most:
        given = "none" if not rows else "more"
        message = f"A bulk call takes 1 to {most} rows; these are {given}."
        refuse([fault(message, "row_count", f"/{member}" if member else "", member)])
    return rows, at + 1
