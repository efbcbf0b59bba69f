"""Ends tasks for certain."""

import asyncio

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
