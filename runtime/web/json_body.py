"""Request bodies: only JSON, only so long, read no further than needed."""

import re
from typing import NoReturn

from litestar import Request
from litestar.datastructures import State
from litestar.types import Scope
from msgspec import Raw

from runtime.web.bulk_json import Rows, parse_rows
from runtime.web.headers import header
from runtime.web.problems import ApiError
from runtime.web.strict_json import parse_object

OBJECT_LIMIT = 256 * 1024
BULK_LIMIT = 5 * 1024 * 1024
_TYPE = re.compile(rb"application/(?:json|[\w.!#$&^-]+\+json)\s*(?:;(.*))?", re.IGNORECASE)
_CHARSET = re.compile(rb"charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)


async def read_object(request: Request[object, object, State]) -> dict[str, Raw]:
    """The members of the JSON object in the body, each value as it was sent."""
    return parse_object(await read_body(request))


async def read_rows(request: Request[object, object, State], *, member: str, most: int) -> Rows:
    """The rows of a bulk body, each still to be given to `parse_object`."""
    return parse_rows(await read_body(request, BULK_LIMIT), member=member, most=most)


async def read_body(request: Request[object, object, State], limit: int = OBJECT_LIMIT) -> bytes:
    """The bytes of a JSON body; raises ApiError 413 or 415, as soon as that is certain."""
    _check_type(request.scope)
    length = header(request.scope, b"content-length")
    if length is not None and length.isdigit() and int(length[:20]) > limit:
        _refuse_length(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ApiError(400, "The connection ended before the body did.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            _refuse_length(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _check_type(scope: Scope) -> None:
    coding = header(scope, b"content-encoding")
    if coding is not None and coding.lower() != b"identity":
        raise ApiError(
            415,
            "The body is compressed; send it as it is.",
            headers={"Accept-Encoding": "identity"},
        )
    match = _TYPE.fullmatch(header(scope, b"content-type") or b"")
    if match is None:
        _refuse_type("The body must be JSON: send Content-Type: application/json.")
    charset = _CHARSET.search(match[1] or b"")
    if charset is not None and charset[1].lower() not in (b"utf-8", b"utf8"):
        _refuse_type("The body must be in UTF-8: leave the charset out of Content-Type.")


def _refuse_type(words: str) -> NoReturn:
    raise ApiError(415, words, headers={"Accept": "application/json"})


def _refuse_length(limit: int) -> NoReturn:
    raise ApiError(413, f"The body is too long: at most {limit} bytes ({limit // 1024} KiB).")
