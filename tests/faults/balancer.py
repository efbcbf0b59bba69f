"""A small TCP balancer before several API processes: it asks each whether it is ready."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from runtime.tasks import end
from tests.support.signals import lapse

_LOOK_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 5.0
_CHUNK_BYTES: Final = 65536
_ASK: Final = b"GET /health/ready HTTP/1.1\r\nHost: balancer\r\nConnection: close\r\n\r\n"


class Balancer:
    """A port on loopback; each connection goes to a process that said it was ready, in turn.

    It knows nothing of requests. Where nobody listens any more the next one is tried.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self.port = 0
        self.ready: set[int] = set()
        """The ports of those that said so last."""
        self._ports = list(ports)
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator["Balancer"]:
        """Take connections until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        looking = [asyncio.create_task(self._look(port)) for port in self._ports]
        try:
            yield self
        finally:
            server.close()
            await end(*looking, *self._serving)

    async def _look(self, port: int) -> None:
        while True:
            if await _says_ready(port):
                self.ready.add(port)
            else:
                self.ready.discard(port)
            await lapse(_LOOK_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with suppress(asyncio.CancelledError, OSError):
                await self._join(reader, writer)
        finally:
            writer.transport.abort()
            self._serving.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ports.append(self._ports.pop(0))
        for port in sorted(self._ports, key=lambda port: port not in self.ready):
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            there = asyncio.create_task(_carry(reader, far_writer))
            back = asyncio.create_task(_carry(far_reader, writer))
            try:
                # Whichever side ends first ends both: no request is sent to half a connection.
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await end(there, back)
                far_writer.transport.abort()
            with suppress(OSError):
                writer.close()
                await writer.wait_closed()
            return


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()


async def _says_ready(port: int) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_ASK)
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            finally:
                writer.close()
    return False
