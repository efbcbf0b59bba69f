"""How many requests are worked on at once, and whose turn is next when more have come.

Nobody waits for long: what a server cannot do soon it had better refuse. Each workspace may hold
half of the places, and those that wait get theirs in turn, so that one that sends a thousand
requests is in nobody's way. While a request itself waits, for its client or for an event, it steps
aside and holds no place.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final

NEWEST_FIRST: Final = 0.1
"""When somebody has waited for this part of the longest wait, the newest is served first: then
there is more to do than can be done, and the oldest would get their answers when they have hardly
any time left, and all the others after them as well."""


class NoPlace(Exception):
    """There is more to do than can be done soon."""


class _Workspace:
    """What one workspace holds, and who waits there."""

    __slots__ = ("is_next", "line", "name", "taken", "turn")

    def __init__(self, name: str) -> None:
        self.name = name
        self.taken = 0
        self.line: deque[Place] = deque()
        self.turn = 0
        """Where its next request stands among those of all workspaces: behind what it was given."""
        self.is_next = False
        """Whether it is among those of which one gets the next place."""

    def oldest(self) -> "Place | None":
        """The oldest who still waits."""
        while self.line and not self.line[0].still_waits():
            self.line.popleft()
        return self.line[0] if self.line else None


class Places:
    """So many requests at once; a heavy one counts for several."""

    def __init__(self, most: int, wait_seconds: float) -> None:
        self.share = max(1, most // 2)
        """The places that one workspace may hold."""
        self.wait_seconds = wait_seconds
        self.taken = 0
        """How many places are held."""
        self.waiting = 0
        """How many requests wait for one."""
        self._most = most
        self._workspaces: dict[str, _Workspace] = {}
        # Those that wait and may have more, the one whose turn comes first on top.
        self._next: list[tuple[int, int, _Workspace]] = []
        self._turn = 0
        self._entered = 0

    def take(self, place: "Place") -> bool:
        """Give a place at once, if there is one and nobody was there before."""
        workspace = self._workspaces.get(place.name)
        if workspace is None:
            workspace = self._workspaces[place.name] = _Workspace(place.name)
        if workspace.line or self._next or not self._fits(workspace, place.weight):
            return False
        self._hold(workspace, place)
        return True

    def line_up(self, place: "Place") -> None:
        """Have it wait for its turn, behind `take`."""
        workspace = self._workspaces[place.name]
        workspace.line.append(place)
        self._enter(workspace)
        self._call()

    def give(self, place: "Place") -> None:
        """Take back what it holds."""
        workspace = self._workspaces[place.name]
        self.taken -= place.held
        workspace.taken -= place.held
        place.held = 0
        if workspace.line or self._next:
            self._enter(workspace)
            self._call()
        self._forget(workspace)

    def _fits(self, workspace: _Workspace, weight: int) -> bool:
        return self.taken + weight <= self._most and workspace.taken + weight <= self.share

    def _hold(self, workspace: _Workspace, place: "Place") -> None:
        place.held = place.weight
        self.taken += place.weight
        workspace.taken += place.weight
        self._turn = max(workspace.turn, self._turn)
        workspace.turn = self._turn + place.weight

    def _enter(self, workspace: _Workspace) -> None:
        """Put a workspace among the next, if somebody waits there."""
        if workspace.line and not workspace.is_next:
            workspace.is_next = True
            self._entered += 1
            turn = max(workspace.turn, self._turn)
            heapq.heappush(self._next, (turn, self._entered, workspace))

    def _call(self) -> None:
        """Give the places that are free to those whose turn it is."""
        while self._next:
            workspace = self._next[0][2]
            oldest = workspace.oldest()
            if oldest is not None and self.taken + oldest.weight > self._most:
                # Nobody slips past: else a heavy one would wait for ever.
                return
            heapq.heappop(self._next)
            workspace.is_next = False
            if oldest is None:
                self._forget(workspace)
                continue
            if workspace.taken + oldest.weight > self.share:
                # It comes back when one of its own places is given back.
                continue
            chosen = self._choose(workspace, oldest)
            self._hold(workspace, chosen)
            chosen.call()
            self._enter(workspace)

    def _forget(self, workspace: _Workspace) -> None:
        if not workspace.taken and not workspace.line and not workspace.is_next:
            self._workspaces.pop(workspace.name, None)

    def _choose(self, workspace: _Workspace, oldest: "Place") -> "Place":
        newest = workspace.line[-1]
        is_late = (
            asyncio.get_running_loop().time() > oldest.since + NEWEST_FIRST * self.wait_seconds
        )
        if is_late and newest.still_waits() and self._fits(workspace, newest.weight):
            return workspace.line.pop()
        return workspace.line.popleft()


class Place:
    """The place of one request: held, waited for, or neither."""

    __slots__ = (
        "_is_gone",
        "_on_refused",
        "_on_turn",
        "_places",
        "_refusing",
        "held",
        "name",
        "since",
        "weight",
    )

    def __init__(self, places: Places, name: str, is_gone: Callable[[], bool]) -> None:
        self.name = name
        """Of the workspace."""
        self.weight = 1
        self.held = 0
        self.since = 0.0
        self._places = places
        self._is_gone = is_gone
        self._on_turn = self._on_refused = _nothing
        self._refusing: asyncio.TimerHandle | None = None

    def take(self) -> bool:
        """Take it now, if it is free and nobody was there before."""
        places = self._places
        self.weight = min(self.weight, places.share)
        return places.take(self)

    def line_up(self, on_turn: Callable[[], None], on_refused: Callable[[], None]) -> None:
        """Wait for it, behind `take`: one of the two is called later."""
        places, loop = self._places, asyncio.get_running_loop()
        self.since = loop.time()
        self._on_turn, self._on_refused = on_turn, on_refused
        self._refusing = loop.call_later(places.wait_seconds, self._refuse)
        places.waiting += 1
        places.line_up(self)

    async def wait(self) -> None:
        """Take it, now or later. Raises NoPlace."""
        if self.held or self.take():
            return
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def end(is_turn: bool) -> None:
            if not turn.done():
                turn.set_result(is_turn)

        self.line_up(lambda: end(True), lambda: end(False))
        try:
            has_turn = await turn
        except asyncio.CancelledError:
            self.give()
            raise
        if not has_turn:
            raise NoPlace

    def give(self) -> None:
        """Hold it no more, and wait no more; more than once does no harm."""
        if self.held:
            self._places.give(self)
        elif self._refusing is not None:
            self._stop_waiting()

    def still_waits(self) -> bool:
        """Whether it waits, and its client is there to get the answer."""
        if self._refusing is not None and self._is_gone():
            self._refuse()
        return self._refusing is not None

    def call(self) -> None:
        """It is its turn."""
        on_turn = self._on_turn
        self._stop_waiting()
        on_turn()

    def _refuse(self) -> None:
        on_refused = self._on_refused
        self._stop_waiting()
        on_refused()

    def _stop_waiting(self) -> None:
        if self._refusing is not None:
            self._refusing.cancel()
            self._refusing = None
            # They know this place: together they would stay until the collector comes.
            self._on_turn = self._on_refused = _nothing
            self._places.waiting -= 1


def _nothing() -> None:
    return None


PLACE: Final[ContextVar[Place | None]] = ContextVar("place", default=None)
"""The place of the request that is worked on."""


@asynccontextmanager
async def aside() -> AsyncGenerator[None]:
    """Hold no place while the block waits for something; take one again behind it.

    Raises NoPlace when there is none then.
    """
    place = PLACE.get()
    if place is None or not place.held:
        yield
        return
    place.give()
    yield
    await place.wait()
