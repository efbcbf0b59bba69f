"""Prefer (RFC 7240): how strictly a client wants to be read."""

import re
from typing import Final

from litestar.types import Scope

from runtime.web.headers import header

# Possessive, all of it: white space that three parts of a pattern may share costs minutes.
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED: Final = rb'"(?:[^"\\]|\\.)*+"'
_WORD: Final = rb"(?:%b|%b)" % (_TOKEN, _QUOTED)
_PREFERENCE: Final = re.compile(
    rb"[ \t]*+(%b)(?:[ \t]*+=[ \t]*+(%b)?+)?+[ \t]*+(?:;.*)?" % (_TOKEN, _WORD), re.DOTALL
)
# A comma in quotes parts nothing. Possessive: a quote without its end costs no more than another.
_ELEMENT: Final = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*+"?)++', re.DOTALL)
_STRICT: Final = "strict"
_APPLIED: Final = "preference_applied"


def heed_handling(scope: Scope) -> bool:
    """Whether what is not known is refused instead of ignored: `Prefer: handling=strict`.

    The answer then says that the preference was heeded.
    """
    is_strict = _handling(header(scope, b"prefer") or b"") == _STRICT
    note_handling(scope, is_strict=is_strict)
    return is_strict


def note_handling(scope: Scope, *, is_strict: bool) -> None:
    """Have the answer say how the request was read, whatever this sending of it prefers."""
    scope["state"][_APPLIED] = "handling=strict" if is_strict else None


def preference_applied(scope: Scope) -> str | None:
    """What the answer says in Preference-Applied; None when no preference was heeded."""
    applied = scope["state"].get(_APPLIED)
    return applied if isinstance(applied, str) else None


def _handling(prefer: bytes) -> str | None:
    """The value of the first `handling`: only that one counts, and what is malformed does not."""
    for element in _ELEMENT.findall(prefer):
        match = _PREFERENCE.fullmatch(element)
        if match is not None and match[1].lower() == b"handling":
            return (match[2] or b"").strip(b'"').decode("latin-1").lower()
    return None
