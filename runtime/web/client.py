"""A connection that waits for its client, but not for ever, and reads no faster than it answers."""

import asyncio
import math
from typing import Any, Final, cast

from litestar.types import Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from runtime.places import Place
from runtime.web.accept import media_type_of_failure
from runtime.web.admission import CLIENT, Admission
from runtime.web.connections import (
    BYTES_PER_SECOND,
    NEVER_SHED,
    too_many_connections,
)
from runtime.web.headers import raw_path, request_id
from runtime.web.joined_writes import JoinedWrites
from runtime.web.json_body import BULK_LIMIT
from runtime.web.problems import ApiError
from runtime.web.protocol import HttpConnection
from runtime.web.rate_limit import is_below_base_path

# So much is parsed at once: requests that are sent one behind the other, before the first is
# answered, are kept as the bytes they came as, which is a hundredth of what they become.
_HEAD_PIECE: Final = 4 * 1024
_BODY_PIECE: Final = 64 * 1024


class ClientConnection(HttpConnection):
    """One connection, counted among those of the process.

    `read_due` is when the client must have sent what is awaited of it, and `write_due` when it
    must have taken something of what waits for it; infinite when nothing is awaited.
    """

    read_due: float = math.inf
    write_due: float = math.inf
    workspace: str | None = None
    _is_surplus = False
    _begun_at = 0.0
    _received = 0
    _untaken = 0
    _in_body = False
    _unparsed: bytes = b""
    _running: RequestResponseCycle | None = None

    def __init__(self, admission: Admission, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._admission = admission
        self._mine = admission.connections

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client has connected; perhaps another, that did nothing, is ended for it."""
        super().connection_made(transport)
        now = self.loop.time()
        mine = self._mine
        self._is_surplus = not mine.has_room() and not mine.make_room(now)
        if self._is_surplus:
            mine.refused += 1
        has_answer = mine.has_room_to_refuse()
        mine.open.add(self)
        mine.rests(self, now)
        self.read_due = now + mine.client_wait
        if self._is_surplus and not has_answer:
            self._end_with(_too_many())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is no more."""
        self._mine.forget(self)
        self._unparsed = b""
        running, self._running = self._running, None
        super().connection_lost(exc)
        if running is not None and not running.response_complete:
            # Not always the request that came last.
            running.disconnected = True
            running.message_event.set()
        # What hangs together in circles stays until the collector comes, which is seldom.
        self.pipeline.clear()
        self.cycle = self.scope = None  # pyright: ignore[reportAttributeAccessIssue] - as at first

    def data_received(self, data: bytes) -> None:
        """Read on, but never further than a few requests ahead."""
        if self._unparsed:
            self._unparsed += data
            self.flow.pause_reading()
            return
        if self._in_body:
            self._received += len(data)
            self.read_due = self._body_due()
            if self._received > BULK_LIMIT and self.cycle.response_complete:
                # Nobody wants the rest.
                self.leave()
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self.pipeline or self.transport.is_closing():
                self._unparsed = data[at:]
                self.flow.pause_reading()
                return
            size = _BODY_PIECE if self._in_body else _HEAD_PIECE
            piece = data[at : at + size]
            at += size
            super().data_received(piece)

    def _go_on(self) -> None:
        if self._unparsed and not self.transport.is_closing():
            data, self._unparsed = self._unparsed, b""
            self._parse(data)

    def on_message_begin(self) -> None:
        """A request begins: its client has some time to send it."""
        super().on_message_begin()
        self.scope.setdefault("state", {})[CLIENT] = self
        self._begun_at = self.loop.time()
        self._received = 0
        self.read_due = self._begun_at + self._mine.client_wait

    def on_headers_complete(self) -> None:
        """The address and all headers are there."""
        before = self.cycle
        super().on_headers_complete()
        self._in_body = self.cycle is not before

    def on_message_complete(self) -> None:
        """The request is there whole: now its client waits."""
        self._in_body = False
        super().on_message_complete()
        if self._running is None:
            # It was answered before it was whole.
            self._rest()
        else:
            self.read_due = math.inf

    def on_response_complete(self) -> None:
        """Answer the next request, or rest; there is one clock for all that rest."""
        self._running = None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._in_message:
            self._rest()
        if self._unparsed:
            self.flow.pause_reading()
            if not self.pipeline:
                self.loop.call_soon(self._go_on)

    def pause_writing(self) -> None:
        """The client does not take what it is sent, for now."""
        super().pause_writing()
        self.awaits_taking(self.loop.time())

    def resume_writing(self) -> None:
        """It has taken it."""
        super().resume_writing()
        self.write_due = math.inf

    def stop_waiting(self, now: float) -> None:
        """What the client had to send did not come in time."""
        if self.flow.read_paused:
            # It may have come: nobody looked.
            self.read_due = now + self._mine.client_wait
            return
        self.read_due = math.inf
        running = self._running
        if not self._in_message or self.transport.is_closing():
            self.leave()
        elif running is not None and not (self._in_body and running is self.cycle):
            # An answer is owed to an earlier request; it is the last.
            self._mine.too_slow += 1
            self.pipeline.clear()
            running.keep_alive = False
        elif running is not None and running.response_started:
            self._mine.too_slow += 1
            self.abort()
        elif running is None and self._in_body:
            # What does not come belongs to a request that has its answer.
            self._mine.too_slow += 1
            self.leave()
        else:
            self._mine.too_slow += 1
            if running is not None:
                running.disconnected = True
                running.message_event.set()
            self._end_with(_too_slow(self._mine.client_wait))

    def leave(self) -> None:
        """End the connection behind all that was written, if that is taken."""
        self.transport.close()
        if self.unsent() and not self.write_due < math.inf:
            self.awaits_taking(self.loop.time())

    def awaits_taking(self, now: float) -> None:
        """From now on the client has some time to take what was written."""
        self.write_due = now + self._mine.client_wait
        self._untaken = self.unsent()

    def is_taking(self, now: float) -> bool:
        """Whether it took so much, in the time it had, that it is waited for."""
        untaken = self.unsent()
        self.write_due += (self._untaken - untaken) / BYTES_PER_SECOND
        self._untaken = untaken
        return self.write_due > now

    def abort(self) -> None:
        """End the connection now, whatever was written."""
        self._joined().abort()

    def is_leaving(self) -> bool:
        """Whether it was ended, and only waits until its client has taken the rest."""
        return self.transport.is_closing()

    def unsent(self) -> int:
        """The bytes that wait for the client to take them."""
        return self._joined().get_write_buffer_size()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin with a request now, or when there is a place for it; or refuse it."""
        self._running = cycle
        self._mine.works(self)
        if cycle.scope["path"] in NEVER_SHED:
            super()._start_asgi_task(cycle, app)
            return
        if self._is_surplus:
            self._refuse_request(cycle, _too_many(), is_last=True)
            return
        place = self._admission.place(cycle)
        if place.take():
            self._begin(place, cycle, app)
        else:
            place.line_up(
                lambda: self._begin(place, cycle, app),
                lambda: self._refuse_request(cycle, self._admission.too_busy()),
            )

    def _begin(self, place: Place, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, cast("Any", self._admission.run(place, cycle, app)))

    def _refuse_request(
        self, cycle: RequestResponseCycle, error: ApiError, *, is_last: bool = False
    ) -> None:
        """Answer a request that nobody has begun with, if anybody is there to get the answer."""
        if cycle.disconnected:
            return
        scope = cast("Scope", cycle.scope)
        error.headers |= {"Content-Type": media_type_of_failure(scope), "Vary": "Accept"}
        if self._admission.rate_policy and is_below_base_path(scope):
            error.headers["RateLimit-Policy"] = self._admission.rate_policy
        cycle.response_started = cycle.response_complete = True
        self._answer_alone(
            error,
            request_id(scope),
            raw_path(scope),
            is_head=scope.get("method") == "HEAD",
            is_last=is_last or not cycle.keep_alive,
        )
        self.on_response_complete()

    def _rest(self) -> None:
        now = self.loop.time()
        self.read_due = now + self._mine.keep_alive
        self._mine.rests(self, now)

    def _body_due(self) -> float:
        return self._begun_at + self._mine.client_wait + self._received / BYTES_PER_SECOND

    def _joined(self) -> JoinedWrites:
        assert isinstance(self.transport, JoinedWrites)  # noqa: S101 - a type guard
        return self.transport


def _too_many() -> ApiError:
    """503: there is no room for the connection."""
    return too_many_connections("This server has too many connections.")


def _too_slow(seconds: float) -> ApiError:
    """408: the request did not come whole in time."""
    return ApiError(
        "request_timeout",
        f"The request did not come whole within {seconds:g} s, and a second more for each "
        f"{BYTES_PER_SECOND // 1024} KiB. Nothing was changed. Send it again.",
    )
