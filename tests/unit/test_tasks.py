"""A task that is to end ends, whatever becomes of its cancellation."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from runtime.lifecycle import run_until_told
from runtime.tasks import carried_through, end, in_whole_steps
from tests.support.signals import turns


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
        await asyncio.Event().wait()

    task, other = asyncio.create_task(stubborn()), asyncio.create_task(asyncio.Event().wait())
    await asyncio.wait((task,), timeout=0)
    await end(task, other)

    assert swallowed == 1
    assert task.cancelled()
    assert other.cancelled()


async def test_how_a_task_ended_by_itself_can_still_be_asked() -> None:
    async def fail() -> None:
        raise LookupError

    async def succeed() -> str:
        return "done"

    failed, succeeded = asyncio.create_task(fail()), asyncio.create_task(succeed())
    await asyncio.wait((failed, succeeded))
    await end(failed, succeeded)

    assert succeeded.result() == "done"
    with pytest.raises(LookupError):
        await failed


async def test_who_is_cancelled_while_ending_tasks_leaves_none_behind() -> None:
    cancelled, may_end = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    task = asyncio.create_task(slow())
    await turns(1)
    ending = asyncio.create_task(end(task))
    await cancelled.wait()
    ending.cancel()
    await turns(2)
    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await ending
    assert task.done()


async def test_work_ends_with_whoever_runs_it() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(run_until_told(work()))
    await begun.wait()
    await end(running)

    assert ended.is_set()


async def test_work_that_is_carried_through_ends_though_nobody_waits_for_it() -> None:
    gate, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await gate.wait()
        done.set()
        raise LookupError

    waiting = asyncio.create_task(carried_through(work()))
    await turns(3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    await turns(3)
    assert done.is_set()


async def test_whole_steps_are_the_same_pieces_with_the_same_end() -> None:
    async def pieces(*, fails: bool) -> AsyncGenerator[int]:
        yield 1
        yield 2
        if fails:
            raise LookupError

    assert [piece async for piece in in_whole_steps(pieces(fails=False))] == [1, 2]
    failing = in_whole_steps(pieces(fails=True))
    assert [await anext(failing), await anext(failing)] == [1, 2]
    with pytest.raises(LookupError):
        await anext(failing)
