"""Standard output as a pipe whose reader may leave, while nothing is written that would tell."""

import asyncio
import os
import select
import stat
import sys
from collections.abc import Coroutine
from contextlib import suppress

from runtime.tasks import end


async def while_somebody_reads(work: Coroutine[object, object, None]) -> None:
    """Do the work; raises BrokenPipeError as soon as standard output is a pipe without a reader."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_reader_leaves())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        was_left = not working.done()
    finally:
        await end(working, leaving)
    if was_left:
        raise BrokenPipeError
    working.result()


async def _reader_leaves() -> None:
    """Return when it has left; never, when standard output is no pipe."""
    loop, has_left = asyncio.get_running_loop(), asyncio.Event()
    pipes = _pipes()

    def look(pipe: int) -> None:
        # One that was opened for reading too is told to be readable instead: it has a reader.
        loop.remove_reader(pipe)
        if _is_broken(pipe):
            has_left.set()

    for pipe in pipes:
        loop.add_reader(pipe, look, pipe)
    try:
        await has_left.wait()
    finally:
        for pipe in pipes:
            loop.remove_reader(pipe)


def _pipes() -> list[int]:
    """The descriptor of standard output, if that is a pipe."""
    # What stands in for it in a test has none.
    with suppress(OSError, ValueError):
        descriptor = sys.stdout.fileno()
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return [descriptor]
    return []


def _is_broken(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))
