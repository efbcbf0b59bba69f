"""The server's HTTP/1.1 as we want it: refusals in our shape, and no way to get stuck."""

import asyncio
import re
from http import HTTPStatus
from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.ids import new_id
from runtime.web.accept import JSON
from runtime.web.joined_writes import JoinedWrites
from runtime.web.problems import ApiError

HEAD_LIMIT: Final = 64 * 1024
HEADERS_MAX: Final = 100
CLOSE: Final = (b"connection", b"close")
"""Among the headers of every answer while each is the last of its connection."""
_UNREADABLE: Final = (
    "This is no HTTP request that can be read. Percent-encode every character beyond ASCII "
    "in the address, and send a method, header and length that HTTP knows."
)
_HEAD_TOO_LONG: Final = (
    f"The address and the headers are too long: at most {HEAD_LIMIT} bytes together, and at most "
    f"{HEADERS_MAX} headers."
)
_UPGRADING: Final = (b"upgrade", b"http2-settings")
# The parser takes a fixed list of methods and no other that the grammar of HTTP allows.
_METHOD: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}(?= [/*])")
# One that the parser takes and no route has.
_STAND_IN: Final = b"UNLINK"


class _HeadTooLongError(Exception):
    pass


class HttpConnection(HttpToolsProtocol):
    """One connection of a client."""

    _begun = 0
    _in_message = False
    _has_moved_on = False
    _unread_size = 0
    _method: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client has connected."""
        super().connection_made(JoinedWrites(transport))

    def data_received(self, data: bytes) -> None:
        """Read on; what cannot be read is answered with 400, and ends the connection."""
        self._unset_keepalive_if_required()
        self._has_moved_on = False
        try:
            rest = self._feed(data)
            while rest:
                rest = self._feed(rest)
        except httptools.HttpParserError as error:
            is_long = isinstance(error.__context__, _HeadTooLongError)
            self._refuse(_HEAD_TOO_LONG if is_long else _UNREADABLE)
            return
        if self._in_message and not self._has_moved_on:
            # Headers that have not ended, before a body in chunks or behind it, are counted here:
            # until then only the parser has them.
            self._unread_size += len(data)
            if self._unread_size > HEAD_LIMIT:
                self._refuse(_HEAD_TOO_LONG)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun += 1
        self._in_message = True
        self._move_on()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The address and all headers are there."""
        self._move_on()
        size = sum(len(name) + len(value) for name, value in self.headers)
        if len(self.headers) > HEADERS_MAX or len(self.url) + size > HEAD_LIMIT:
            raise _HeadTooLongError
        super().on_headers_complete()
        if self._method is not None:
            self.scope["method"], self._method = self._method, None
        if not self.parser.should_upgrade():
            # What follows a body in chunks is no header of the request: whoever stands in front of
            # us and lets only some headers pass has not seen it.
            self.headers = []

    def on_body(self, body: bytes) -> None:
        """More of the body is there."""
        self._move_on()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there whole."""
        self._in_message = False
        super().on_message_complete()

    def _move_on(self) -> None:
        self._has_moved_on = True
        self._unread_size = 0

    def _should_upgrade(self) -> bool:
        # Keeps the app from being called: `_feed` restarts parsing without the Upgrade header.
        return True

    def _feed(self, data: bytes) -> bytes:
        """Give the parser something; returns what a new parser is to be given next."""
        begun, is_fresh = self._begun, not self._in_message
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._begin_anew() + data[upgrade.args[0] :]
        except httptools.HttpParserInvalidMethodError:
            method = _METHOD.match(data)
            if method is None or not is_fresh or self._begun > begun + 1 or self.url:
                raise
            # It gets the 405 of its path, like any other method that is not there.
            self._method = method[0].decode("ascii")
            self._in_message = False
            self.parser = httptools.HttpRequestParser(self)
            return _STAND_IN + data[method.end() :]
        return b""

    def _begin_anew(self) -> bytes:
        """The head of a request that asks for another protocol, without its Upgrade header.

        Some clients ask so with each first request. The parser has stopped for good after the
        head, and has not read the body.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserInvalidMethodError
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                kept = b", ".join(t for t in tokens if t.lower() not in _UPGRADING)
                lines.append(b"connection: %b" % kept)
            elif name not in _UPGRADING:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", b""])

    def _refuse(self, message: str) -> None:
        if self._owes_an_answer():
            # It is sent first, and alone: this refusal would be taken for it.
            self.cycle.keep_alive = False
            return
        self._end_with(ApiError(400, message))

    def _end_with(self, error: ApiError) -> None:
        """Answer a request that could not be read, and end the connection."""
        self._answer_alone(error, str(new_id()), is_last=True)

    def _answer_alone(
        self,
        error: ApiError,
        request_id: str,
        instance: str | None = None,
        *,
        is_head: bool = False,
        is_last: bool = False,
    ) -> None:
        """Write the whole answer that an error stands for, without an app."""
        of_all = self.server_state.default_headers
        is_last = is_last or CLOSE in of_all
        body = error.body(request_id, instance)
        headers = {
            **{name.decode().title(): value.decode() for name, value in of_all},
            "Content-Type": JSON,
            **error.headers,
            **({"Connection": "close"} if is_last else {}),
            "Content-Length": str(len(body)),
            "X-Request-Id": request_id,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        head = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        lines = (f"{name}: {text}\r\n" for name, text in headers.items())
        written = "".join([head, *lines, "\r\n"]).encode()
        self.transport.write(written if is_head else written + body)
        if is_last:
            self.transport.close()

    def _owes_an_answer(self) -> bool:
        """Whether a request that came whole is still being worked on."""
        cycle = self.cycle
        if cycle is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is at first
            return False
        return not (cycle.more_body or cycle.response_complete)
