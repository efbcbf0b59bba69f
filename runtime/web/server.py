"""Serves an app on a socket of our own until told to stop; requests under way are finished."""

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import Callable, Generator
from typing import Final

import uvicorn
from litestar import Litestar

from runtime.failure import Failure
from runtime.web.protocol import HttpConnection

GRACE_SECONDS: Final = 10
_BACKLOG: Final = 2048


class _Server(uvicorn.Server):
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
    app: Litestar, host: str, port: int, *, announce: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Serve until `stop`; `announce` gets `{"port": N}` once requests are taken."""
    listening = bind(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            loop="none",
            http=HttpConnection,
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
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await serving
