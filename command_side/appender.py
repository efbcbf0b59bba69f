"""Group commit: what is queued while one append runs goes into the next, in one call.

There is no timer. A quiet process appends at once; a busy one makes larger batches, of everybody
who has arrived. A client that disconnects cancels nothing: its group is appended, or refused, all
the same.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from msgspec import Struct

from command_side.deadline import Deadline, nothing_written
from events.append import Appended, AppendLog, Group, Outcome
from events.envelope import Position
from events.errors import LogUnavailable

EVENTS_PER_CALL: Final = 500
BYTES_PER_CALL: Final = 1024 * 1024
_TURNS: Final = 2
"""Of the event loop; in them the requests are read that wait on their connections."""

log = structlog.get_logger()


def _ignore(_groups: Sequence[Group], _seconds: float) -> None:
    return None


class _Waiting(Struct):
    group: Group
    answer: asyncio.Future[Outcome]


class Appender:
    """Appends the groups of one process, in the order they come.

    `on_batch` is told what each call took along and how many seconds it took.
    """

    def __init__(
        self,
        event_log: AppendLog,
        *,
        on_appended: Callable[[Position], Awaitable[None]],
        on_batch: Callable[[Sequence[Group], float], None] = _ignore,
    ) -> None:
        self._log = event_log
        self._on_appended = on_appended
        self._on_batch = on_batch
        self.failures = 0
        """Calls that the log did not answer."""
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._sent_at: float | None = None
        self._was_shared = False

    @property
    def queued(self) -> int:
        """How many groups wait for the call after the present one."""
        return len(self._queue)

    def silent_seconds(self) -> float:
        """For how long the log has left unanswered what was sent to it."""
        if self._sent_at is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._sent_at

    async def append(self, group: Group, deadline: Deadline) -> Outcome:
        """Append one group and wait for its outcome, until the deadline.

        Raises LogUnavailable when the database is away; a group that was already sent may then
        still be found in the log, and is told apart by its event ids or its receipt.
        """
        if self._closing:
            raise LogUnavailable("This process is stopping.")
        waiting = _Waiting(group, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake.set()
        giving_up = deadline.call_at_end(self._give_up, waiting)
        try:
            return await waiting.answer
        finally:
            giving_up.cancel()

    def _give_up(self, waiting: _Waiting) -> None:
        if waiting.answer.done():
            return
        error = LogUnavailable(
            "The database is too slow; whether the write counts is not known yet."
        )
        if waiting in self._queue:
            self._queue.remove(waiting)
            error = nothing_written()
        waiting.answer.set_exception(error)

    async def run(self) -> None:
        """Append batches until `close`; then what is still queued, and return."""
        while self._queue or not self._closing:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._gather()
            batch = self._take_batch()
            if not batch:
                # All were given up meanwhile.
                continue
            try:
                await self._append_batch(batch)
            except Exception as error:
                # Whatever it is: the loop serves every later request.
                log.exception("append.failed", groups=len(batch))
                self._refuse(batch, error)

    def close(self) -> None:
        """Take nothing more; `run` ends when the queue is empty."""
        self._closing = True
        self._wake.set()

    async def _gather(self) -> None:
        """Let the requests that have arrived by now come along, while many do."""
        if self._was_shared:
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _take_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        events = size = 0
        while self._queue:
            group = self._queue[0].group
            events += len(group.events)
            size += sum(len(event.payload) + len(event.metadata) for event in group.events)
            if batch and (events > EVENTS_PER_CALL or size > BYTES_PER_CALL):
                break
            batch.append(self._queue.popleft())
        self._was_shared = len(batch) > 1
        return batch

    async def _append_batch(self, batch: list[_Waiting]) -> None:
        now = asyncio.get_running_loop().time
        sent_at = self._sent_at = now()
        groups = [waiting.group for waiting in batch]
        try:
            outcomes = await self._log.append(groups)
        except LogUnavailable as error:
            self.failures += 1
            cause = type(error.__cause__).__name__
            queued = len(self._queue)
            log.warning("append.unavailable", cause=cause, groups=len(batch), queued=queued)
            # Those still queued were not sent: better told now than one timeout after another.
            self._refuse(batch, error)
            self._refuse(list(self._queue), error)
            self._queue.clear()
            return
        finally:
            self._sent_at = None
        newest = 0
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)
            if isinstance(outcome, Appended) and outcome.first_position is not None:
                newest = outcome.first_position + len(waiting.group.events) - 1
        self._on_batch(groups, now() - sent_at)
        if newest:
            await self._on_appended(Position(newest))

    def _refuse(self, batch: list[_Waiting], error: Exception) -> None:
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)
                # Nobody may be waiting any more; the fault is logged here.
                waiting.answer.exception()
