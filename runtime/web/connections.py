"""The open connections of an API process: how many there may be, whose, and how long one waits.

Whoever sends a request byte by byte, or takes no answer, costs a connection and nothing else, and
that not for long. When there are too many, those that nobody uses make room.
"""

import math
import resource
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct

from runtime.settings import Settings
from runtime.web.problems import ApiError, unavailable

if TYPE_CHECKING:
    from runtime.web.client import ClientConnection

NEVER_SHED: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Paths that are served whatever else is refused: who looks after the service needs them."""

# Of a client that sends a body or takes an answer more slowly it is not known whether it lives.
BYTES_PER_SECOND: Final = 64 * 1024
_LEAVING_SECONDS: Final = 2.0
"""How long a process that stops waits for a client."""
_SETTLED_SECONDS: Final = 1.0
"""Who was idle for so long is not just about to send the next request."""
_OTHER_FILES: Final = 128
"""That a process has open beside its connections."""
UNSENT_MAX: Final = 64 * 1024 * 1024
"""The bytes of answers that all together may lie here for those who do not take them."""

READS_PER_DATABASE_CONNECTION: Final = 8

log = structlog.get_logger()


class Limits(Struct, frozen=True, kw_only=True):
    """What clients may ask of one API process, and how long they are waited for."""

    connections: int = 2000
    keep_alive: float = 75.0
    """Seconds a connection may be idle between two requests."""
    client_wait: float = 10.0
    """Seconds a client may take to send a request, or to take something of an answer."""
    requests: int = 128
    """Requests at work at once: writes, and as many reads."""
    reads: int = 64
    request_wait: float = 2.0
    """Seconds a request waits for its turn."""
    streams: int = 1000
    """Event streams that are open at once."""


def limits_of(settings: Settings) -> Limits:
    """Those that an operator chose."""
    return Limits(
        connections=settings.connections,
        keep_alive=settings.keep_alive,
        client_wait=settings.client_wait,
        requests=settings.requests,
        reads=min(settings.requests, READS_PER_DATABASE_CONNECTION * settings.pool_size),
        request_wait=settings.request_wait,
        streams=settings.streams,
    )


class Connections:
    """Those that are open, and those of them that nobody uses."""

    def __init__(self, limits: Limits) -> None:
        self.keep_alive = limits.keep_alive
        self.client_wait = limits.client_wait
        self.open: set[ClientConnection] = set()
        self.refused = 0
        """How many were turned away because there were too many."""
        self.too_slow = 0
        """How many were ended because the client was too slow."""
        self._most = limits.connections
        # The first of them is idle for longest.
        self._idle: dict[ClientConnection, float] = {}
        self._of_workspace: dict[str, int] = {}

    def prepare(self) -> None:
        """See to it that the process may open as many files as it may have connections."""
        wanted = self._hard_limit + _OTHER_FILES
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft in (resource.RLIM_INFINITY,) or soft >= wanted:
            return
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < wanted:
            self._most = max(1, (most - _OTHER_FILES) * 10 // 11)
            log.warning("connections.fewer", connections=self._most, files=most)

    @property
    def _hard_limit(self) -> int:
        return self._most + self._most // 10 + 1

    def has_room(self) -> bool:
        """Whether one more is served like any other."""
        return len(self.open) < self._most

    def has_room_to_refuse(self) -> bool:
        """Whether one more can be told that there is no room."""
        return len(self.open) < self._hard_limit

    def make_room(self, now: float, workspace: str | None = None) -> bool:
        """End the one, of a workspace or of all, that was idle for longest; whether it could."""
        for connection, since in self._idle.items():
            if now < since + _SETTLED_SECONDS:
                return False
            if workspace is None or connection.workspace == workspace:
                del self._idle[connection]
                self._uncount(connection)
                connection.leave()
                return True
        return False

    def rests(self, connection: "ClientConnection", now: float) -> None:
        """Nobody uses it from now on."""
        self._idle.pop(connection, None)
        self._idle[connection] = now

    def works(self, connection: "ClientConnection") -> None:
        """It is used."""
        self._idle.pop(connection, None)

    def count(self, connection: "ClientConnection", workspace: str, now: float) -> bool:
        """Count it for a workspace; whether that may have so many: half of all.

        One of its own that nobody uses makes room.
        """
        if connection.workspace != workspace:
            self._uncount(connection)
            share = max(1, self._most // 2)
            if self._of_workspace.get(workspace, 0) >= share and not self.make_room(now, workspace):
                self.refused += 1
                return False
            self._of_workspace[workspace] = self._of_workspace.get(workspace, 0) + 1
            connection.workspace = workspace
        return True

    def forget(self, connection: "ClientConnection") -> None:
        """It is no more."""
        self.open.discard(connection)
        self._idle.pop(connection, None)
        self._uncount(connection)

    def _uncount(self, connection: "ClientConnection") -> None:
        workspace, connection.workspace = connection.workspace, None
        if workspace is not None:
            self._of_workspace[workspace] -= 1
            if not self._of_workspace[workspace]:
                del self._of_workspace[workspace]

    def look(self, now: float) -> None:
        """End those whose clients are too slow, and those that nobody used for long."""
        unsent = 0
        for connection in list(self.open):
            if connection.read_due <= now:
                connection.stop_waiting(now)
            if connection.write_due <= now and not connection.is_taking(now):
                self.too_slow += 1
                connection.abort()
            elif connection.write_due < math.inf:
                unsent += connection.unsent()
            elif connection.is_leaving():
                connection.awaits_taking(now)
        if unsent > UNSENT_MAX:
            self._drop_unsent(unsent)

    def _drop_unsent(self, unsent: int) -> None:
        """Give up those who take nothing, the first of them first."""
        for connection in sorted(self.open, key=lambda one: one.write_due):
            if unsent <= UNSENT_MAX:
                return
            unsent -= connection.unsent()
            self.too_slow += 1
            connection.abort()

    def hurry(self, now: float) -> None:
        """The process stops: wait for no client any longer than a moment."""
        self.client_wait = min(self.client_wait, _LEAVING_SECONDS)
        due = now + self.client_wait
        for connection in self.open:
            # Where nothing is awaited of the client, it waits for its answer.
            if connection.read_due < math.inf:
                connection.read_due = min(connection.read_due, due)
            if connection.write_due < math.inf:
                connection.write_due = min(connection.write_due, due)


def too_many_connections(words: str) -> ApiError:
    """503 on a connection that is ended."""
    error = unavailable(f"{words} Close those that you do not need, and send the request again.")
    error.headers["Connection"] = "close"
    return error
