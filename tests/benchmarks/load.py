"""Load on a server over plain HTTP/1.1 connections that are kept, and the time of each answer.

In a closed loop each connection waits for its answer before it asks again. In an open loop each
request has its time, whatever the others do, and its clock runs from that time on: a server that
stands still for a second is not asked less in that second, and its stillness is not left out.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Final, Self, TypeVar, cast

import uvloop
from msgspec import Struct

from tests.support.signals import at

T = TypeVar("T")

# The loop has a clock too, but uvloop's counts whole milliseconds.
now: Final = time.perf_counter

PERCENTILES: Final = (*range(1, 100), 99.5, 99.9, 100)
# Servers end those that nobody used for five seconds, perhaps just when somebody does again.
_IDLE_SECONDS: Final = 3.0
_HEAD_END: Final = b"\r\n\r\n"


class Answer(Struct, frozen=True):
    """What a server answered."""

    status: int
    head: bytes
    body: bytes


class Refused(Exception):
    """An answer that is not 2xx: what was measured would mean nothing."""


class Timings(Struct, kw_only=True):
    """Seconds of each answer, in the order of the answers, and how long all of it took."""

    taken: list[float]
    seconds: float

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return len(self.taken) / self.seconds

    def milliseconds(self, percent: float) -> float:
        """What so many percent of the answers took at most."""
        return 1000 * percentile(self.taken, percent)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that so many percent of them do not exceed."""
    return _percentiles(values, [percent])[0]


def distribution(milliseconds: Sequence[float]) -> list[float]:
    """The values at PERCENTILES."""
    return _percentiles(milliseconds, PERCENTILES)


def _percentiles(values: Sequence[float], percents: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[max(1, math.ceil(len(ordered) * one / 100)) - 1] for one in percents]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on an event loop that costs as little as it may: the server needs the processors."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class _Connection(asyncio.Protocol):
    """One request at a time; the answers must say their length."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiting: asyncio.Future[Answer] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self.used_at = now()
        self.is_kept = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one without saying so.
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionError("the server ended the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(_HEAD_END)
        if not end:
            return
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length or 0):
            return
        self._buffer = b""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(Answer(int(head[9:12]), head, body))

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    async def ask(self, request: bytes) -> Answer:
        if self._transport is None:
            raise ConnectionError("the server ended the connection")
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Client:
    """Asks one server; as many connections as requests are under way at once, each kept."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._common = f"Host: bench\r\nX-Api-Key: {key}\r\n"
        self._idle: deque[_Connection] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        for connection in self._idle:
            connection.close()

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The bytes of a request."""
        head = f"{method} {path} HTTP/1.1\r\n{self._common}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    async def ask(self, request: bytes) -> Answer:
        """The answer to a request. Raises Refused when it is not 2xx."""
        connection = self._kept() or await self._connect()
        try:
            answer = await connection.ask(request)
        except ConnectionError:
            if not connection.is_kept:
                raise
            # It was ended while the request was on its way, as any server may do.
            connection = await self._connect()
            answer = await connection.ask(request)
        connection.used_at, connection.is_kept = now(), True
        self._idle.append(connection)
        if not 200 <= answer.status < 300:
            asked = request.partition(b"\r\n")[0].decode()
            words = answer.body[:500].decode(errors="replace")
            raise Refused(f"{asked} was answered with {answer.status}: {words}")
        return answer

    async def get(self, path: str) -> bytes:
        """The body of an answer to a GET."""
        return (await self.ask(self.request("GET", path))).body

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of an answer to a POST."""
        return (await self.ask(self.request("POST", path, body))).body

    def _kept(self) -> _Connection | None:
        while self._idle:
            # The last of them was used last.
            connection = self._idle.pop()
            if connection.is_open and now() < connection.used_at + _IDLE_SECONDS:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        _, made = await asyncio.get_running_loop().create_connection(
            _Connection, "127.0.0.1", self._port
        )
        return made


async def closed_loop(
    client: Client,
    requests: Iterator[bytes],
    *,
    connections: int,
    seconds: float,
    at_least: int = 1,
) -> Timings:
    """Ask over so many connections for so many seconds, and until so many were answered."""
    taken: list[float] = []
    begun = now()

    async def go_on() -> None:
        while now() < begun + seconds or len(taken) < at_least:
            request = next(requests, None)
            if request is None:
                return
            asked = now()
            await client.ask(request)
            taken.append(now() - asked)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(go_on())
    return Timings(taken=taken, seconds=now() - begun)


async def open_loop(
    rate: float, turns: Iterable[int], ask: Callable[[int], Awaitable[object]]
) -> Timings:
    """Ask in each turn, so many a second; each clock runs from when its request was due."""
    taken: list[float] = []

    async def one(turn: int, due: float) -> None:
        await ask(turn)
        taken.append(now() - due)

    begun = now()
    async with asyncio.TaskGroup() as group:
        for turn in turns:
            due = begun + turn / rate
            if due > now():
                await at(asyncio.get_running_loop().time() + due - now())
            group.create_task(one(turn, due))
    return Timings(taken=taken, seconds=now() - begun)
