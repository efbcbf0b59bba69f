"""The envelope around every answer that succeeded."""

from collections.abc import Mapping

import msgspec
from litestar import MediaType, Response
from litestar.types import Scope
from msgspec import Raw, Struct

from runtime.web.headers import request_id

BASE_PATH = "/api/v1/external"


class _Success(Struct, frozen=True, kw_only=True):
    success: bool
    status_code: int
    message: str
    data: object
    meta: Mapping[str, object]


def success_body(
    data: object,
    *,
    message: str,
    meta: Mapping[str, object],
) -> bytes:
    """The published envelope, in the published order; `data` in bytes is JSON already."""
    return msgspec.json.encode(
        _Success(
            success=True,
            status_code=200,
            message=message,
            data=Raw(data) if isinstance(data, bytes) else data,
            meta=meta,
        )
    )


def success(
    scope: Scope,
    data: object,
    *,
    message: str,
    meta: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response[bytes]:
    """A successful answer; the request's id is the last member of its `meta`."""
    meta = {**(meta or {}), "request_id": request_id(scope)}
    return Response(
        success_body(data, message=message, meta=meta),
        status_code=200,
        headers=headers,
        media_type=MediaType.JSON,
    )
