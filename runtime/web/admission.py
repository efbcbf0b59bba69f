"""Who is let in: a place for each request, and 503 when there is none soon.

    connection ─► head read ─► place ─► counted ─► key ─► rate ─► scope ─► share ─► the call
    client.py     protocol.py  taken    measuring  authentication, rate_limit    admit

The place is given back when the answer begins. `connections.py` knows all connections and ends
those whose clients are too slow; whom they end, and who gets no place, is answered without an app.
Places are given before anything is done for a request, so that refusing costs next to nothing.
Health and metrics need none. Reads and writes have places of their own: when the log stands still
the writes that wait for it are in no read's way.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import structlog
from litestar import Response
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.types.asgi_types import HTTPReceiveMessage, WebSocketReceiveMessage
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from runtime.places import PLACE, NoPlace, Place, Places
from runtime.web.authentication import is_open, key_of, principal_of
from runtime.web.connections import Connections, Limits, too_many_connections
from runtime.web.problems import AnyRequest, ApiError, answer

ADMISSION: Final = "admission"
"""Where the server finds it, in the state of an app."""
CLIENT: Final = "client"
"""Where a request finds the connection that it came over, in the state of its scope."""
STREAMS: Final = "is_stream"
"""What an event stream says of itself in its `opt`: it stays, and is counted for as long."""
BYTES_PER_PLACE: Final = 64 * 1024
"""A request with a long body is worked on for longer, and counts for as many more."""
BODIES_MAX: Final = 128 * 1024 * 1024
"""The bytes of bodies that all requests together may keep here until they are worked on."""
_SMALL: Final = 16 * 1024
"""A body that came with its head, and is no longer, is not counted among those that are kept."""
_NOBODY: Final = ""
"""The workspace of those who need no key, or have one that was not seen yet."""
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_KEYS_KNOWN: Final = 10_000
_RETRY_SECONDS: Final = 3
_LOG_SECONDS: Final = 1.0

log = structlog.get_logger()


class Admission:
    """Lets in as many as can be served."""

    def __init__(self, limits: Limits) -> None:
        self.connections = Connections(limits)
        self.reads = Places(limits.reads, limits.request_wait)
        self.writes = Places(limits.requests, limits.request_wait)
        self.rate_policy = ""
        """What RateLimit-Policy says in each answer, where there is a limit."""
        self._streams_max = limits.streams
        self._streams: Counter[UUID] = Counter()
        self._body_bytes = 0
        self._refused = Counter({"place": 0, "stream": 0})
        # By the hash of a key, whose it is: to take turns by, and for nothing else.
        self._workspaces: dict[int, str] = {}
        self._told_at = 0.0
        self._untold = 0

    def counts(self) -> Mapping[str, int]:
        """How many were refused until now, by what there was too much of."""
        return {
            **self._refused,
            "connection": self.connections.refused,
            "slow_client": self.connections.too_slow,
        }

    def place(self, cycle: RequestResponseCycle) -> Place:
        """A place for a request whose head is there; not taken yet."""
        scope = cycle.scope
        name = _NOBODY
        for header, value in scope["headers"]:
            if header == b"x-api-key":
                name = self._workspaces.get(hash(value), _NOBODY)
                break
        places = self.reads if scope["method"] in _SAFE else self.writes
        place = Place(places, name, lambda: cycle.disconnected)
        if cycle.body:
            place.weight += len(cycle.body) // BYTES_PER_PLACE
        return place

    def run(self, place: Place, cycle: RequestResponseCycle, app: ASGIApp) -> ASGIApp:
        """The app for one request that has its place."""

        async def work(scope: Scope, receive: Receive, send: Send) -> None:
            PLACE.set(place)

            async def send_on(message: Message) -> None:
                place.give()
                await send(message)

            try:
                if cycle.more_body or len(cycle.body) > _SMALL:
                    with _Body(self, place, receive, is_whole=not cycle.more_body) as body:
                        await app(scope, body.receive, send_on)
                else:
                    await app(scope, receive, send_on)
            finally:
                place.give()

        return work

    def admit(self, app: ASGIApp) -> ASGIApp:
        """Middleware after `require_scope`: remembers whose key it is; the limits of each."""

        async def check(scope: Scope, receive: Receive, send: Send) -> None:
            if is_open(scope):
                await app(scope, receive, send)
                return
            workspace = principal_of(scope).workspace_id
            client = scope["state"].get(CLIENT)
            now = asyncio.get_running_loop().time()
            if client is not None and not self.connections.count(client, workspace, now):
                raise too_many_connections(
                    "Your workspace has too many connections to this server."
                )
            place = PLACE.get()
            if place is not None and place.name != workspace:
                self._remember(scope, workspace)
            if scope["route_handler"].opt.get(STREAMS):
                async with self._stream(principal_of(scope).key_id):
                    await app(scope, receive, send)
            else:
                await app(scope, receive, send)

        return check

    def _remember(self, scope: Scope, workspace: str) -> None:
        if len(self._workspaces) >= _KEYS_KNOWN:
            self._workspaces.clear()
        self._workspaces[hash(key_of(scope))] = workspace

    def keep(self, size: int) -> None:
        """So many more bytes of bodies are here. Raises NoPlace when they are too many."""
        if self._body_bytes + size > BODIES_MAX:
            raise NoPlace
        self._body_bytes += size

    def let_go(self, size: int) -> None:
        """So many are no longer here."""
        self._body_bytes -= size

    def too_busy(self) -> ApiError:
        """503: there is more to do than can be done; all of a second are one line in the log."""
        self._refused["place"] += 1
        self._untold += 1
        now = time.monotonic()
        if now > self._told_at + _LOG_SECONDS:
            log.warning(
                "requests.refused",
                count=self._untold,
                reads=self.reads.taken,
                writes=self.writes.taken,
                connections=len(self.connections.open),
            )
            self._told_at, self._untold = now, 0
        # Not all at the same time: else they would come back as one crowd.
        seconds = 1 + self._refused["place"] % _RETRY_SECONDS
        return ApiError(
            503,
            "This server has more to do than it can at the moment, and has not begun with this "
            f"request. Send it again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
        )

    def answer_no_place(self, request: AnyRequest, _: NoPlace) -> Response[bytes]:
        """Exception handler for those who had stepped aside."""
        return answer(request, self.too_busy())

    @asynccontextmanager
    async def _stream(self, key_id: UUID) -> AsyncGenerator[None]:
        share = max(1, self._streams_max // 4)
        if self._streams[key_id] >= share:
            raise self._too_many_streams(429, f"This API key has {share}")
        if self._streams.total() >= self._streams_max:
            raise self._too_many_streams(503, f"All clients together have {self._streams_max}")
        self._streams[key_id] += 1
        try:
            yield
        finally:
            self._streams[key_id] -= 1
            if not self._streams[key_id]:
                del self._streams[key_id]

    def _too_many_streams(self, status: int, whose: str) -> ApiError:
        self._refused["stream"] += 1
        return ApiError(
            status,
            f"{whose} event streams open here, and may not have more. Close one, or read pages of "
            "events.",
            headers={"Retry-After": str(_RETRY_SECONDS)},
        )


class _Body:
    """The body of a request; while the rest of it is awaited the request holds no place."""

    def __init__(
        self, admission: Admission, place: Place, receive: Receive, *, is_whole: bool
    ) -> None:
        self._admission = admission
        self._is_whole = is_whole
        self._place = place
        self._receive = receive
        self._size = 0

    def __enter__(self) -> "_Body":
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.let_go(self._size)

    async def receive(self) -> HTTPReceiveMessage | WebSocketReceiveMessage:
        """The next piece; behind the last of them there is a place again. Raises NoPlace."""
        if not self._is_whole:
            self._place.give()
        message = await self._receive()
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self._admission.keep(size)
            self._size += size
            if not message.get("more_body", False) and not self._is_whole:
                self._is_whole = True
                self._place.weight = 1 + self._size // BYTES_PER_PLACE
                await self._place.wait()
        return message
