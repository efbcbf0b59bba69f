"""A span for every request that takes a key, where there are traces."""

from typing import Final

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from runtime.telemetry.tracing import Tracer
from runtime.web.authentication import is_open
from runtime.web.context import read_traceparent
from runtime.web.measuring import route_of

_STATUS: Final = "status"
_HEADER: Final = b"traceparent"


class RequestSpans:
    """Makes the spans; what the request leads to goes on in the trace of its span."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """The outermost of all: from here on the request has the traceparent of its span."""

        async def trace(scope: Scope, receive: Receive, send: Send) -> None:
            if is_open(scope):
                # Who looks again and again how the process does would fill every collector.
                await app(scope, receive, send)
                return
            method = str(scope.get("method"))
            span = self._tracer.begin(method, read_traceparent(scope), "server")
            others = [pair for pair in scope["headers"] if pair[0] != _HEADER]
            scope["headers"] = [*others, (_HEADER, span.traceparent.encode("ascii"))]
            try:
                await app(scope, receive, send)
            finally:
                route = route_of(scope)
                status = int(scope["state"].get(_STATUS, 500))
                span.end(
                    f"{method} {route}",
                    {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": status,
                    },
                    failed=status >= 500,
                )

        return trace

    async def before_send(self, message: Message, scope: Scope) -> None:
        """Notes how the request was answered."""
        if message["type"] == "http.response.start":
            scope["state"][_STATUS] = message["status"]
