"""An HTTP server that takes webhooks, and answers as a test tells it to."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Respond = Callable[[BaseHTTPRequestHandler], None]


class Received(NamedTuple):
    """A request: path, headers in lower case, body."""

    path: str
    headers: dict[str, str]
    body: str


class Receiver:
    """Keeps what it got; answers 204, or first with each of `answers` once."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []
        self.answers: list[int | Respond] = []
        self.ending = threading.Event()
        """Set when the test ends: whoever hangs until then must let go."""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Take one request."""
        body = handler.rfile.read(int(handler.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.received.append(Received(handler.path, headers, body))
        answer = self.answers.pop(0) if self.answers else 204
        if callable(answer):
            answer(handler)
            return
        handler.send_response(answer)
        handler.send_header("content-length", "0")
        handler.end_headers()


@contextmanager
def receiving() -> Generator[Receiver]:
    """A receiver that listens, until the block ends."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.answer(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' word
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is no fault of a test."""

    server = Server(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/webhooks"
    serving = threading.Thread(target=server.serve_forever, args=[0.05])
    serving.start()
    try:
        yield receiver
    finally:
        receiver.ending.set()
        server.shutdown()
        serving.join()
        server.server_close()
