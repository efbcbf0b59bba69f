"""Waiting for an event that may not come."""

import asyncio
from contextlib import suppress


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, or the time is over; whether it was set."""
    # Not wait_for: in Python 3.11 it may swallow a cancellation that meets the event.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
