"""What the answers of reads have in common."""

from collections.abc import Sequence
from typing import Final

from litestar import HttpMethod, Response

from query_side.requests import OneRequest
from runtime.web.conditions import etag
from runtime.web.envelope import BASE_PATH, success
from runtime.web.ignored import warnings_meta
from runtime.web.problems import AnyRequest

READ: Final = {"scope": "customers:read"}
METHODS: Final = [HttpMethod.GET, HttpMethod.HEAD]
CUSTOMERS: Final = f"{BASE_PATH}/customers"


def answer_customer(
    request: AnyRequest,
    asked: OneRequest,
    document: bytes,
    version: int,
    *,
    is_stale: bool,
) -> Response[bytes]:
    """A customer as finished JSON, or 304 to a reader that has it already.

    Raises ApiError with all that is wrong with the request.
    """
    asked.check()
    headers = {"ETag": etag(version)}
    # An answer that may be stale says so, and a 304 has no place for that.
    if asked.conditions.is_known(version) and not is_stale:
        return Response(b"", status_code=304, headers=headers)
    return success(
        request.scope,
        document,
        message="Customer retrieved successfully",
        meta=read_meta(is_stale, asked.warnings),
        headers=headers,
    )


def read_meta(is_stale: bool, warnings: Sequence[str]) -> dict[str, object]:
    """What `meta` says of any read."""
    meta: dict[str, object] = {"stale": True} if is_stale else {}
    return meta | warnings_meta(warnings)
