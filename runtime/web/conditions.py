"""If-Match and If-None-Match (RFC 9110, 13.1), for resources whose ETag is their version."""

import re
from typing import Final

from litestar.types import Scope
from msgspec import Struct

from runtime.field_error import FieldError
from runtime.web.headers import header

_ONE: Final = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = re.compile(rb"%b(?:[ \t]*,[ \t]*%b)*" % (_ONE, _ONE))
_TAG: Final = re.compile(rb'(W/)?"([^"]*)"')
_VERSION: Final = re.compile(rb"[1-9][0-9]{0,9}")


class Tags(Struct, frozen=True, kw_only=True):
    """What such a header lists."""

    any: bool
    """`*`: whatever version, as long as there is one."""
    strong: frozenset[int] = frozenset()
    weak: frozenset[int] = frozenset()
    """Weak tags; they match in If-None-Match only."""


class Conditions(Struct, frozen=True, kw_only=True):
    """On which condition a request is meant; None: none."""

    if_match: Tags | None = None
    if_none_match: Tags | None = None

    def allow_write(self, version: int | None) -> bool:
        """Whether a write may go on; `version` is None when there is nothing at this address."""
        if self.if_match is not None and not _matches(self.if_match, version, weakly=False):
            return False
        return self.if_none_match is None or not _matches(self.if_none_match, version, weakly=True)

    def is_known(self, version: int) -> bool:
        """Whether the reader has this version already, so that 304 says all."""
        return self.if_none_match is not None and _matches(self.if_none_match, version, weakly=True)


def etag(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


def read_conditions(scope: Scope) -> tuple[Conditions, tuple[FieldError, ...]]:
    """The conditions of a request, and an error for a header that cannot be read as one."""
    errors: list[FieldError] = []
    return (
        Conditions(
            if_match=_read(scope, "If-Match", errors),
            if_none_match=_read(scope, "If-None-Match", errors),
        ),
        tuple(errors),
    )


def _read(scope: Scope, name: str, errors: list[FieldError]) -> Tags | None:
    given = header(scope, name.lower().encode("ascii"))
    if given is None:
        return None
    if given == b"*":
        return Tags(any=True)
    if _TAGS.fullmatch(given) is None:
        words = f'{name} must be * or ETags in quotes, such as "3".'
        errors.append(FieldError(field=name, error=words, code="malformed_etag"))
        return None
    strong: set[int] = set()
    weak: set[int] = set()
    for is_weak, tag in _TAG.findall(given):
        # Any other text is nobody's version, and matches nothing.
        if _VERSION.fullmatch(tag):
            (weak if is_weak else strong).add(int(tag))
    return Tags(any=False, strong=frozenset(strong), weak=frozenset(weak))


def _matches(tags: Tags, version: int | None, *, weakly: bool) -> bool:
    if version is None:
        return False
    return tags.any or version in tags.strong or (weakly and version in tags.weak)
