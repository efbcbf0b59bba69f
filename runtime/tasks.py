"""Ends tasks for certain."""

import asyncio

_AGAIN_SECONDS = 0.5


async def end(*tasks: asyncio.Task[object]) -> None:
    """Cancel tasks and wait until they have ended, however: who wants to know asks them."""
    running = {task for task in tasks if not task.done()}
    while running:
        # Again and again: a library below may swallow a cancellation that comes at a bad moment.
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            # An error that nobody looked at would be complained of.
            task.exception()
