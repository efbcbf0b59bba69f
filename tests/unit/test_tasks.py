"""A task that is to end ends, whatever becomes of its cancellation."""

import asyncio

import pytest

from runtime.tasks import end


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
