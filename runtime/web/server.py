"""Serves an app on a socket of our own until told to stop; requests under way are finished.

    serving ──► draining ──► finishing ──► ended
           stop         seconds       all answered, or GRACE_SECONDS

While it drains it answers everybody and ends each connection with its next answer. Who finds out
by `/health/ready`, or by an ended connection, goes elsewhere, and nobody's request is refused.
"""

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import Callable, Generator
from functools import partial
from typing import Final, cast

import uvicorn
from litestar import Litestar

from runtime.failure import Failure
from runtime.tasks import end
from runtime.web.admission import ADMISSION, Admission
from runtime.web.client import ClientConnection
from runtime.web.connections import Connections, Limits
from runtime.web.protocol import CLOSE

GRACE_SECONDS: Final = 10
_BACKLOG: Final = 2048
_LOOK_SECONDS: Final = 0.25


class _Server(uvicorn.Server):
    _is_draining = False

    def drain(self) -> None:
        """End each connection with the answer to its next request."""
        self._is_draining = True
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; makes the headers of every answer anew once in a second."""
        is_over = await super().on_tick(counter)
        headers = self.server_state.default_headers
        if self._is_draining and CLOSE not in headers:
            self.server_state.default_headers = [*headers, CLOSE]
        return is_over

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Signals are the process's business, not the server's."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises Failure when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failure(
                f"Port {port} on {host} is taken by another program.",
                try_next="customers api --port 0",
            ) from error
        raise Failure(
            f"Cannot listen on {host}, port {port}: {error.strerror}.",
            try_next="customers api --host 127.0.0.1 --port 0",
        ) from error


async def serve(
    app: Litestar,
    host: str,
    port: int,
    *,
    announce: Callable[[str], None],
    stop: asyncio.Event,
    drain_seconds: float = 0.0,
) -> None:
    """Serve until `stop`, and drain; `announce` gets `{"port": N}` once requests are taken."""
    admission: Admission = app.state.get(ADMISSION) or Admission(Limits())
    connections = admission.connections
    connections.prepare()
    listening = bind(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            loop="none",
            http=cast("type[asyncio.Protocol]", partial(ClientConnection, admission)),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    announce(json.dumps({"port": listening.getsockname()[1]}))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    looking = asyncio.create_task(_look_after(connections))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if drain_seconds > 0 and not serving.done():
        server.drain()
        await asyncio.wait({serving}, timeout=drain_seconds)
    connections.hurry(asyncio.get_running_loop().time())
    server.should_exit = True
    try:
        await serving
    finally:
        await end(looking)


async def _look_after(connections: Connections) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        connections.look(loop.time())
