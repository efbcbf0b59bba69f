"""Ends tasks for certain, and lets what was begun come to its end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_AGAIN_SECONDS = 0.5


async def end(*tasks: asyncio.Task[object]) -> None:
    """Cancel tasks and wait until they have ended, however: who wants to know asks them.

    Cancelled itself, it leaves none behind either, and raises CancelledError then.
    """
    is_cancelled = False
    while running := {task for task in tasks if not task.done()}:
        # Again and again: a library below may swallow a cancellation that comes at a bad moment.
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=_AGAIN_SECONDS)
        except asyncio.CancelledError:
            is_cancelled = True
    for task in tasks:
        if not task.cancelled():
            # An error that nobody looked at would be complained of.
            task.exception()
    if is_cancelled:
        raise asyncio.CancelledError


async def carried_through(work: Coroutine[object, object, T]) -> T:
    """Its result. Who is cancelled meanwhile goes, and the work comes to its end without him.

    For a question to the database: cut off in the middle, it costs its connection.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_look_at)
        raise


async def in_whole_steps(pieces: AsyncIterator[T]) -> AsyncGenerator[T]:
    """The same pieces, each of them carried through."""
    with suppress(StopAsyncIteration):
        while True:
            yield await carried_through(_next(pieces))


async def _next(pieces: AsyncIterator[T]) -> T:
    return await anext(pieces)


def _look_at(task: asyncio.Task[T]) -> None:
    # An error that nobody looked at would be complained of.
    if not task.cancelled():
        task.exception()
