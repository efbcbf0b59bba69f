"""The envelope around every answer that succeeded."""

from collections.abc import Mapping

import msgspec
from litestar import MediaType, Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send
from litestar.types.asgi_types import HTTPResponseBodyEvent, HTTPResponseStartEvent
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
    return _FinishedAnswer(success_body(data, message=message, meta=meta), headers or {})


class _FinishedAnswer(Response[bytes]):
    """A JSON answer that the framework need not render: that cost a tenth of a whole request."""

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        super().__init__(body, status_code=200, headers=headers, media_type=MediaType.JSON)

    def to_asgi_response(self, *_: object, **__: object) -> ASGIResponse:
        """What sends it."""
        return _Sending(self.content, self.headers)


class _Sending(ASGIResponse):
    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        self._head: HTTPResponseStartEvent = {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                *(
                    (name.lower().encode(), text.encode("latin-1"))
                    for name, text in headers.items()
                ),
            ],
        }
        self._body: HTTPResponseBodyEvent = {
            "type": "http.response.body",
            "body": body,
            "more_body": False,
        }

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - ASGI has three
        receive: Receive,  # noqa: ARG002 - ASGI has three
        send: Send,
    ) -> None:
        # To a HEAD the server sends no body.
        await send(self._head)
        await send(self._body)
