"""A tiny app on a port, whose calls last as long as a test wants, and clients without manners."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self, cast

from litestar import Litestar, Response, Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.response import Stream
from msgspec import Struct

from runtime.web.admission import STREAMS, Admission
from runtime.web.authentication import Authentication
from runtime.web.connections import Limits
from runtime.web.envelope import BASE_PATH, success
from runtime.web.frame import Frame
from runtime.web.json_body import BULK_LIMIT, read_bytes
from runtime.web.problems import AnyRequest
from runtime.web.rate_limit import RateLimit
from runtime.web.server import serve
from tests.support.signals import LIMIT_SECONDS, turns, until
from tests.support.web import ALMIGHTY, READER, Keys, Probes

ACME, GLOBEX = READER, ALMIGHTY
"""The keys of two workspaces."""
LARGE = 8 * 1024 * 1024
MANY = 100_000
"""What a key may ask a minute: more than any test does."""


class Gate(Struct):
    """What calls wait for, and how many were begun."""

    opened: asyncio.Event
    begun: int = 0
    read: int = 0
    """The bytes of bodies that calls got."""


@get("/held", opt={"scope": "customers:read"})
async def held(request: AnyRequest, gate: NamedDependency[Gate]) -> Response[bytes]:
    """Answers when the gate is open."""
    gate.begun += 1
    await gate.opened.wait()
    return success(request.scope, None, message="Done")


@post("/held", opt={"scope": "customers:read"}, status_code=200)
async def held_write(request: AnyRequest, gate: NamedDependency[Gate]) -> Response[bytes]:
    """Reads its body, and answers when the gate is open."""
    gate.begun += 1
    gate.read += len(await read_bytes(request, BULK_LIMIT))
    await gate.opened.wait()
    return success(request.scope, None, message="Done")


@get("/quick", opt={"scope": "customers:read"})
async def quick(request: AnyRequest) -> Response[bytes]:
    """Answers at once."""
    return success(request.scope, None, message="Done")


@get("/large", opt={"scope": "customers:read"})
async def large() -> Response[bytes]:
    """Answers with more than any socket takes at once."""
    return Response(b"x" * LARGE)


@get("/stream", opt={"scope": "customers:read", STREAMS: True})
async def stream(request: AnyRequest, gate: NamedDependency[Gate]) -> Stream:
    """Sends something large now and then, until the gate is open."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"begun"
        while request.query_params.get("much") and not gate.opened.is_set():
            yield b"x" * 100_000
            # A client that has gone takes everything at once.
            await turns(1)
        await gate.opened.wait()

    return Stream(pieces())


class Served:
    """The app on its port."""

    def __init__(self, port: int, admission: Admission, gate: Gate, stop: asyncio.Event) -> None:
        self.port = port
        self.admission = admission
        self.gate = gate
        self.stop = stop

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self.admission.connections.open)

    def hold(self) -> None:
        """Let the calls from now on wait."""
        self.gate.opened.clear()


class Caller:
    """One connection of a client, and what was answered over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def send(self, sent: bytes) -> None:
        """Send some bytes."""
        self.writer.write(sent)

    def ask(
        self,
        path: str = "/held",
        *,
        key: str = ACME,
        method: str = "GET",
        body: bytes = b"",
        **headers: str,
    ) -> None:
        """Send a request below the base path, or at a path that begins with two slashes."""
        self.send(a_request(path, key=key, method=method, body=body, **headers))

    def stop_taking(self) -> None:
        """Take nothing of what is answered."""
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def take_again(self) -> None:
        """Go on taking it."""
        cast("asyncio.Transport", self.writer.transport).resume_reading()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next answer."""
        async with asyncio.timeout(LIMIT_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): text for name, text in pairs}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The status, the headers and the body of the next answer."""
        status, headers = await self.head()
        async with asyncio.timeout(LIMIT_SECONDS):
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return status, headers, body

    async def status(self) -> int:
        """The status of the next answer."""
        return (await self.answer())[0]

    async def problem(self) -> tuple[int, dict[str, str], Any]:
        """The next answer, its body read as JSON."""
        status, headers, body = await self.answer()
        return status, headers, json.loads(body)

    async def is_ended(self) -> bool:
        """Wait until the server ends the connection; what comes before is thrown away."""
        async with asyncio.timeout(LIMIT_SECONDS):
            try:
                while await self.reader.read(65_536):
                    pass
            except ConnectionError:
                pass
            return True


def a_request(
    path: str = "/held", *, key: str = ACME, method: str = "GET", body: bytes = b"", **headers: str
) -> bytes:
    """The bytes of a request below the base path, or at a path that begins with two slashes."""
    address = path[1:] if path.startswith("//") else f"{BASE_PATH}{path}"
    if body:
        headers |= {"Content_Length": str(len(body))}
    lines = [f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items()]
    head = f"{method} {address} HTTP/1.1\r\nHost: test\r\nX-Api-Key: {key}\r\n{''.join(lines)}\r\n"
    return head.encode() + body


@asynccontextmanager
async def a_server(limits: Limits, *, drain_seconds: float = 0) -> AsyncGenerator[Served]:
    """The app with these limits, until the block ends; its gate is closed."""
    gate = Gate(opened=asyncio.Event())
    admission = Admission(limits)
    frame = Frame(
        Authentication(Keys().lookup),
        Probes().checks(),
        rate_limit=RateLimit(MANY),
        admission=admission,
    )
    app = Litestar(
        [Router(BASE_PATH, route_handlers=[held, held_write, quick, large, stream])],
        plugins=[frame],
        dependencies={"gate": Provide(lambda: gate, sync_to_thread=False)},
        openapi_config=None,
    )
    stop = asyncio.Event()
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(
            app,
            "127.0.0.1",
            0,
            announce=announced.set_result,
            stop=stop,
            drain_seconds=drain_seconds,
        )
    )
    try:
        served = Served(json.loads(await announced)["port"], admission, gate, stop)
        await _introduce(served)
        yield served
    finally:
        gate.opened.set()
        stop.set()
        async with asyncio.timeout(LIMIT_SECONDS):
            await serving


async def _introduce(served: Served) -> None:
    """Have it know whose keys there are, as after a moment of any work."""
    for key in (ACME, GLOBEX):
        async with calling(served) as (caller,):
            caller.ask("/quick", key=key)
            assert await caller.status() == 200
        await until(lambda: served.open == 0)


@asynccontextmanager
async def calling(served: Served, count: int = 1) -> AsyncGenerator[list[Caller]]:
    """So many connections, until the block ends."""
    callers = [
        Caller(*await asyncio.open_connection("127.0.0.1", served.port)) for _ in range(count)
    ]
    try:
        yield callers
    finally:
        for caller in callers:
            caller.writer.transport.abort()
