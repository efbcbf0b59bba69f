"""Waiting for something to become true, instead of for time to pass."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

LIMIT_SECONDS = 30.0


async def until(
    is_true: Callable[[], bool | Awaitable[bool]], seconds: float = LIMIT_SECONDS
) -> None:
    """Return as soon as it is true; fail when it is not in time."""
    async with asyncio.timeout(seconds):
        while True:
            outcome = is_true()
            if inspect.isawaitable(outcome):
                outcome = await outcome
            if outcome:
                return
            await asyncio.sleep(0.01)


async def at(moment: float) -> None:
    """Return at a time of the event loop's clock: what makes a load, never a way to wait."""
    await asyncio.sleep(moment - asyncio.get_running_loop().time())


async def lapse(seconds: float) -> None:
    """Let time pass: how long a fault lasts or a load rests, never a way to wait for an outcome."""
    await asyncio.sleep(seconds)


async def turns(number: int) -> None:
    """Let whatever else runs go on for so many turns of the event loop."""
    for _ in range(number):
        await asyncio.sleep(0)
