"""The request's own headers, read straight from the ASGI scope, and the id of a request."""

import re

from litestar.types import Scope

from runtime.ids import new_id

REQUEST_ID_MAX = 128
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,%d}" % REQUEST_ID_MAX)


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a header, `name` in lower case; one that came twice is joined by a comma."""
    # White space around a value is no part of it (RFC 9110, 5.5), but the server leaves some.
    values = [value.strip(b" \t") for key, value in scope["headers"] if key == name]
    return b", ".join(values) if values else None


def raw_path(scope: Scope) -> str:
    """The path as it was sent, percent-encoded, without the query."""
    return scope["raw_path"].partition(b"?")[0].decode("latin-1")


def request_id(scope: Scope) -> str:
    """The id of this request: the client's X-Request-Id when well-formed, else a new one."""
    known = scope["state"].get("request_id")
    if isinstance(known, str):
        return known
    given = header(scope, b"x-request-id")
    accepted = given is not None and _REQUEST_ID.fullmatch(given) is not None
    made = given.decode("ascii") if given is not None and accepted else str(new_id())
    scope["state"]["request_id"] = made
    return made
