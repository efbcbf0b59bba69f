"""Who asks, why, and as part of what: what a request's headers say beside its key."""

import re

from litestar.types import Scope
from msgspec import Struct

from runtime.field_error import FieldError
from runtime.text import CONTROL
from runtime.web.headers import header, request_id

LONGEST = 256
_IDS = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
# W3C Trace Context: version ff is invalid, and only later versions than 00 may say more.
_TRACEPARENT = re.compile(rb"00%b|(?!00|ff)[0-9a-f]{2}%b(?:-.*)?" % (_IDS, _IDS))


class RequestContext(Struct, frozen=True, kw_only=True):
    """What is written down beside a change: all of it chosen by the client, none of it proven."""

    request_id: str
    actor: str | None
    reason: str | None
    traceparent: str | None


def read_context(scope: Scope) -> tuple[RequestContext, tuple[FieldError, ...]]:
    """The context of a write, and an error for every header that cannot be kept.

    They are answered together with those of the body.
    """
    faults: list[FieldError] = []
    actor = _free_text(scope, "X-Actor", faults)
    reason = _free_text(scope, "X-Reason", faults)
    context = RequestContext(
        request_id=request_id(scope),
        actor=actor,
        reason=reason,
        traceparent=read_traceparent(scope),
    )
    return context, tuple(faults)


def read_traceparent(scope: Scope) -> str | None:
    """The W3C traceparent, or None when it is missing or malformed, as the standard asks."""
    given = header(scope, b"traceparent")
    if given is None or _TRACEPARENT.fullmatch(given) is None:
        return None
    return given[:55].decode("ascii")


def _free_text(scope: Scope, name: str, faults: list[FieldError]) -> str | None:
    raw = header(scope, name.lower().encode("ascii"))
    if raw is None:
        return None
    try:
        text = raw.decode("utf-8").strip(" ")
    except UnicodeDecodeError:
        # ISO 8859-1, as HTTP once defined it and browsers still send it.
        text = raw.decode("latin-1").strip(" ")
    if len(text) > LONGEST:
        message = f"{name} is {len(text)} characters long; at most {LONGEST} are kept."
        faults.append(FieldError(field=name, error=message, code="too_long"))
    elif CONTROL.search(text):
        message = f"{name} holds control characters, which are not kept."
        faults.append(FieldError(field=name, error=message, code="control_character"))
    return text or None
