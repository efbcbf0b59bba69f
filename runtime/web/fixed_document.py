"""Documents that stay the same while the process runs, and are known by their ETag."""

import hashlib
from typing import Final

from litestar import Response

from runtime.web.headers import header
from runtime.web.problems import AnyRequest

A_DAY: Final = "public, max-age=86400"
"""Anybody may keep it so long without asking again."""


class FixedDocument:
    """Something to answer as it is; `cache_control` says who may keep it."""

    def __init__(
        self, body: bytes, *, media_type: str = "application/json", cache_control: str = "no-cache"
    ) -> None:
        self._body = body
        self._media_type = media_type
        self._tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self._headers = {"ETag": self._tag, "Cache-Control": cache_control}

    def answer(self, request: AnyRequest) -> Response[bytes]:
        """The document, or 304 for who has it already."""
        known = (header(request.scope, b"if-none-match") or b"").decode("latin-1")
        is_known = known == "*" or self._tag in known
        return Response(
            b"" if is_known else self._body,
            status_code=304 if is_known else 200,
            media_type=self._media_type,
            headers=self._headers,
        )
