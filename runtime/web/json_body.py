"""Request bodies: only JSON, only so long, read no further than needed."""

import re

from litestar import Request
from litestar.datastructures import State
from litestar.types import Scope

from runtime.web.headers import header
from runtime.web.problems import ApiError

OBJECT_LIMIT = 256 * 1024
BULK_LIMIT = 5 * 1024 * 1024
_TYPE = re.compile(rb"(application/json|application/merge-patch\+json)\s*(?:;(.*))?", re.IGNORECASE)
JSON_TYPES = ("application/json",)
PATCH_TYPES = (*JSON_TYPES, "application/merge-patch+json")
"""A merge patch (RFC 7396) is what PATCH takes, and nothing else does."""
_CHARSET = re.compile(rb"charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)


async def read_bytes(request: Request[object, object, State], limit: int = OBJECT_LIMIT) -> bytes:
    """The bytes of a body, whatever it says it is; raises ApiError 413."""
    length = header(request.scope, b"content-length")
    if length is not None and length.isdigit() and int(length[:20]) > limit:
        raise too_long(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ApiError(400, "The connection ended before the body did.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_long(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def check_type(scope: Scope) -> None:
    """Raises ApiError 415 unless the request says that its body is JSON, and not compressed."""
    coding = header(scope, b"content-encoding")
    if coding is not None and coding.lower() != b"identity":
        raise ApiError(
            415,
            "The body is compressed; send it as it is.",
            headers={"Accept-Encoding": "identity"},
        )
    taken = PATCH_TYPES if scope.get("method") == "PATCH" else JSON_TYPES
    match = _TYPE.fullmatch(header(scope, b"content-type") or b"")
    if match is None or match[1].lower().decode("ascii") not in taken:
        raise not_json(taken)
    charset = _CHARSET.search(match[2] or b"")
    if charset is not None and charset[1].lower() not in (b"utf-8", b"utf8"):
        message = "The body must be in UTF-8: leave the charset out of Content-Type."
        raise _wrong_type(message, taken)


def not_json(taken: tuple[str, ...]) -> ApiError:
    """415: the body is of none of the types that the call takes."""
    message = f"The body must be JSON: send Content-Type: {' or '.join(taken)}."
    return _wrong_type(message, taken)


def _wrong_type(message: str, taken: tuple[str, ...]) -> ApiError:
    return ApiError(415, message, headers={"Accept": ", ".join(taken)})


def too_long(limit: int) -> ApiError:
    """413: the call takes so many bytes at most."""
    kib = limit // 1024
    size = f"{kib // 1024} MiB" if kib % 1024 == 0 else f"{kib} KiB"
    return ApiError(413, f"The body is too long: at most {limit} bytes ({size}).")
