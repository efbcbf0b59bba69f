"""If-Match and If-None-Match (RFC 9110, 13.1), for resources whose ETag is their version."""

import re
from typing import Final

from litestar.types import Scope

from runtime.conditions import Conditions, ETags
from runtime.field_error import FieldError
from runtime.web.headers import header

IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"
_ONE: Final = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
# Empty elements of a list are no fault (RFC 9110, 5.6.1.2). Possessive: many cost no more than one.
_TAGS: Final = re.compile(rb"[ \t,]*+%b(?:[ \t]*+,[ \t,]*+%b)*+[ \t,]*+" % (_ONE, _ONE))
_TAG: Final = re.compile(rb'(W/)?"([^"]*)"')
_VERSION: Final = re.compile(rb"[1-9][0-9]{0,9}")


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def read_conditions(scope: Scope, *names: str) -> tuple[Conditions, tuple[FieldError, ...]]:
    """What the headers of these names ask for, and an error for one that cannot be read."""
    errors: list[FieldError] = []
    read = {name: _read(scope, name, errors) for name in names}
    conditions = Conditions(if_match=read.get(IF_MATCH), if_none_match=read.get(IF_NONE_MATCH))
    return conditions, tuple(errors)


def _read(scope: Scope, name: str, errors: list[FieldError]) -> ETags | None:
    given = header(scope, name.lower().encode("ascii"))
    if given is None:
        return None
    if given == b"*":
        return ETags(any=True)
    if _TAGS.fullmatch(given) is None:
        message = f'{name} must be * or ETags in quotes, such as "3".'
        errors.append(FieldError(field=name, error=message, code="malformed_etag"))
        return None
    strong: set[int] = set()
    weak: set[int] = set()
    for is_weak, tag in _TAG.findall(given):
        # Any other text is nobody's version, and matches nothing.
        if _VERSION.fullmatch(tag):
            (weak if is_weak else strong).add(int(tag))
    return ETags(any=False, strong=frozenset(strong), weak=frozenset(weak))
