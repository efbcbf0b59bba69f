"""Look-ups that are asked at once go into few calls, and nobody is answered for another."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from events.envelope import WorkspaceId
from events.gathering import KEYS_PER_CALL, Gathering
from tests.support.builders import ACME, GLOBEX
from tests.support.signals import until


class Shelf:
    """Things of workspaces, looked up when `open` is set; `calls` are those that began."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.calls: list[tuple[WorkspaceId, list[int]]] = []
        self.gathering = Gathering[int, str](self.look_up)

    async def look_up(self, workspace_id: WorkspaceId, keys: list[int]) -> dict[int, str]:
        """All but those below zero, which fail the call; there is no 13."""
        self.calls.append((workspace_id, keys))
        await self.open.wait()
        if min(keys) < 0:
            raise LookupError
        return {key: f"{workspace_id} {key}" for key in keys if key != 13}

    def ask(self, *keys: int, workspace: WorkspaceId = ACME) -> asyncio.Task[dict[int, str]]:
        """Somebody asks."""
        return asyncio.create_task(self._ask(workspace, list(keys)))

    async def _ask(self, workspace_id: WorkspaceId, keys: list[int]) -> dict[int, str]:
        return await self.gathering.find(workspace_id, keys)

    def has_begun(self, count: int) -> Callable[[], bool | Awaitable[bool]]:
        """Whether so many calls have."""
        return lambda: len(self.calls) == count


async def test_what_is_asked_while_a_call_runs_goes_into_the_next() -> None:
    shelf = Shelf()
    first = shelf.ask(1)
    await until(shelf.has_begun(1))
    later = [shelf.ask(2, 3), shelf.ask(3, 13), shelf.ask(1)]
    shelf.open.set()

    assert await first == {1: "acme 1"}
    assert await asyncio.gather(*later) == [
        {2: "acme 2", 3: "acme 3"},
        {3: "acme 3"},
        {1: "acme 1"},
    ]
    assert shelf.calls == [(ACME, [1]), (ACME, [2, 3, 13, 1])]


async def test_a_call_of_one_workspace_waits_for_none_of_another() -> None:
    shelf = Shelf()
    asked = [shelf.ask(1), shelf.ask(1, workspace=GLOBEX)]
    await until(shelf.has_begun(2))
    shelf.open.set()

    assert await asyncio.gather(*asked) == [{1: "acme 1"}, {1: "globex 1"}]
    assert shelf.calls == [(ACME, [1]), (GLOBEX, [1])]


async def test_a_call_has_an_end_and_no_asker_is_split() -> None:
    shelf = Shelf()
    shelf.open.set()
    many = [shelf.ask(n, n + 1) for n in range(0, KEYS_PER_CALL + 20, 2)]
    huge = shelf.ask(*range(KEYS_PER_CALL + 1))
    await asyncio.gather(*many, huge)

    assert [len(keys) for _, keys in shelf.calls] == [KEYS_PER_CALL, 20, KEYS_PER_CALL + 1]


async def test_a_call_that_fails_fails_those_who_asked_and_nobody_later() -> None:
    shelf = Shelf()
    first = shelf.ask(-1)
    await until(shelf.has_begun(1))
    second = shelf.ask(2)
    shelf.open.set()

    with pytest.raises(LookupError):
        await first
    assert await second == {2: "acme 2"}
    assert await shelf.ask(3) == {3: "acme 3"}


async def test_whoever_gives_up_stops_no_other() -> None:
    shelf = Shelf()
    first, other = shelf.ask(1), shelf.ask(1)
    await until(shelf.has_begun(1))
    waiting, given_up = shelf.ask(2), shelf.ask(4)
    await asyncio.wait([waiting, given_up], timeout=0)
    for task in (first, given_up):
        task.cancel()
    await asyncio.wait([first, given_up])
    shelf.open.set()

    assert await other == {1: "acme 1"}
    assert await waiting == {2: "acme 2"}
    assert shelf.calls == [(ACME, [1]), (ACME, [2])]


async def test_for_those_who_all_gave_up_no_call_is_made() -> None:
    shelf = Shelf()
    first = shelf.ask(1)
    await until(shelf.has_begun(1))
    given_up = shelf.ask(2)
    await asyncio.wait([given_up], timeout=0)
    given_up.cancel()
    await asyncio.wait([given_up])
    shelf.open.set()

    assert await first == {1: "acme 1"}
    assert await shelf.ask(3) == {3: "acme 3"}
    assert shelf.calls == [(ACME, [1]), (ACME, [3])]
