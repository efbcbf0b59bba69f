"""The header Idempotency-Key: a client's own key for one request, quoted or bare the same."""

import re
from typing import Final

from litestar.types import Scope

from runtime.field_error import FieldError
from runtime.web.headers import header

KEY_MAX: Final = 255
_BARE: Final = re.compile(rb"[\x20-\x7e]+")
# A string of RFC 8941.
_QUOTED: Final = re.compile(rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_ESCAPED: Final = re.compile(rb'\\(["\\])')


def read_idempotency_key(scope: Scope) -> bytes | FieldError | None:
    """The Idempotency-Key, or what is wrong with it; None when there is none."""
    given = header(scope, b"idempotency-key")
    if given is None:
        return None
    quoted = _QUOTED.fullmatch(given)
    key = given if quoted is None else _ESCAPED.sub(rb"\1", quoted[1])
    if quoted is None and (given.startswith(b'"') or not _BARE.fullmatch(given)):
        message = "Idempotency-Key takes printable ASCII characters, quoted or bare."
        return FieldError(field="Idempotency-Key", error=message, code="malformed_key")
    if not 1 <= len(key) <= KEY_MAX:
        message = f"Idempotency-Key takes 1 to {KEY_MAX} characters; these are {len(key)}."
        return FieldError(field="Idempotency-Key", error=message, code="out_of_range")
    return key
