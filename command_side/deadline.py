"""One time for all that a command waits for: its turn, its look-ups, its append, every attempt."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from events.errors import LogUnavailable

T = TypeVar("T")


class Deadline:
    """When a command is given up."""

    def __init__(self, seconds: float) -> None:
        self._at = asyncio.get_running_loop().time() + seconds

    def call_at_end(self, give_up: Callable[[T], None], waiting: T) -> asyncio.TimerHandle:
        """Call `give_up` at the deadline; at once when that is past."""
        return asyncio.get_running_loop().call_at(self._at, give_up, waiting)

    @asynccontextmanager
    async def ends(self) -> AsyncGenerator[None]:
        """Break off what is inside at the deadline, and raise LogUnavailable.

        For what writes nothing: an append that was sent cannot be broken off.
        """
        try:
            async with asyncio.timeout_at(self._at):
                yield
        except TimeoutError as error:
            raise nothing_written() from error


def nothing_written() -> LogUnavailable:
    """What is raised for a command whose time was over before it was sent to the log."""
    return LogUnavailable("The database is too slow; nothing was written.")
