"""However many wait for events, one look serves them all, and only while somebody waits."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack

import psycopg
import pytest

from events.envelope import WorkspaceId
from events.feed import FEED_BEGINNING, FeedPlace
from query_side.arrivals import Arrivals, Waiter
from tests.support.signals import LIMIT_SECONDS, until

ACME, GLOBEX = WorkspaceId("acme"), WorkspaceId("globex")


class Ends:
    """Knows where workspaces end, and how often it was asked; a fault is told instead."""

    def __init__(self) -> None:
        self.known: dict[WorkspaceId, FeedPlace] = {}
        self.asked: list[list[WorkspaceId]] = []
        self.fault: Exception | None = None

    async def find(self, workspace_ids: Sequence[WorkspaceId]) -> dict[WorkspaceId, FeedPlace]:
        """Where these end."""
        self.asked.append(list(workspace_ids))
        if self.fault is not None:
            raise self.fault
        return {name: self.known.get(name, FEED_BEGINNING) for name in workspace_ids}


@pytest.fixture
def ends() -> Ends:
    """What the log would answer."""
    return Ends()


@pytest.fixture
def stop() -> asyncio.Event:
    """Tells that the process stops."""
    return asyncio.Event()


@pytest.fixture
async def arrivals(ends: Ends, stop: asyncio.Event) -> AsyncGenerator[Arrivals]:
    """Looks out while a test runs."""
    made = Arrivals(ends.find)
    async with made.looking(stop):
        yield made


async def no_check() -> None:
    pass


def place(sequence: int, chain: bytes = b"12345678") -> FeedPlace:
    return FeedPlace(sequence=sequence, chain=chain)


async def woken(waiter: Waiter) -> bool:
    return await waiter.wait(LIMIT_SECONDS, no_check)


async def test_one_look_serves_a_thousand_who_wait(arrivals: Arrivals, ends: Ends) -> None:
    with ExitStack() as waiting:
        waiters = [
            waiting.enter_context(arrivals.expecting(name, FEED_BEGINNING))
            for name in (ACME, GLOBEX)
            for _ in range(500)
        ]
        ends.known = {ACME: place(1), GLOBEX: place(1)}
        arrivals.ring()
        assert all(await asyncio.gather(*map(woken, waiters)))
        assert sorted(ends.asked[0]) == [ACME, GLOBEX]
        assert len(ends.asked) <= 2


async def test_only_those_are_woken_whose_workspace_has_changed(
    arrivals: Arrivals, ends: Ends
) -> None:
    with (
        arrivals.expecting(ACME, FEED_BEGINNING) as mine,
        arrivals.expecting(GLOBEX, FEED_BEGINNING) as theirs,
    ):
        ends.known[GLOBEX] = place(1)
        arrivals.ring()
        assert await woken(theirs)
        assert not await mine.wait(0, no_check)


@pytest.mark.parametrize("end", [place(2, b"otherwis"), place(1), place(3)])
async def test_a_history_that_is_another_wakes_too(
    arrivals: Arrivals, ends: Ends, end: FeedPlace
) -> None:
    ends.known[ACME] = end
    with arrivals.expecting(ACME, place(2)) as waiter:
        assert await woken(waiter)


async def test_without_a_ring_somebody_looks_all_the_same(arrivals: Arrivals, ends: Ends) -> None:
    with arrivals.expecting(ACME, FEED_BEGINNING) as waiter:
        await until(lambda: len(ends.asked) == 1)
        ends.known[ACME] = place(1)
        assert await woken(waiter)


@pytest.mark.parametrize("fault", [psycopg.OperationalError("away"), KeyError("a fault of ours")])
async def test_a_look_that_fails_is_followed_by_another(
    arrivals: Arrivals, ends: Ends, fault: Exception
) -> None:
    ends.fault = fault
    with arrivals.expecting(ACME, FEED_BEGINNING) as waiter:
        await until(lambda: len(ends.asked) == 2)
        ends.fault = None
        ends.known[ACME] = place(1)
        assert await woken(waiter)


async def test_from_stop_on_nobody_waits(arrivals: Arrivals, stop: asyncio.Event) -> None:
    with arrivals.expecting(ACME, FEED_BEGINNING) as before:
        stop.set()
        assert await woken(before)
    assert arrivals.is_over
    with arrivals.expecting(ACME, FEED_BEGINNING) as after:
        assert await woken(after)


async def test_what_the_check_raises_ends_the_waiting(arrivals: Arrivals) -> None:
    async def refuse() -> None:
        raise PermissionError

    with arrivals.expecting(ACME, FEED_BEGINNING) as waiter, pytest.raises(PermissionError):
        await waiter.wait(LIMIT_SECONDS, refuse)
