"""One at a time per customer within a process, so that neighbours need not conflict."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

from command_side.deadline import Deadline
from events.envelope import CustomerId, WorkspaceId

_Name: TypeAlias = tuple[WorkspaceId, CustomerId]


class CustomerLocks:
    """A lock per customer, kept only while somebody holds or awaits it.

    They are taken before anybody knows whose customer it is; so each workspace has its own.
    """

    def __init__(self) -> None:
        self._locks: dict[_Name, asyncio.Lock] = {}
        self._users: dict[_Name, int] = {}

    @asynccontextmanager
    async def hold(
        self, workspace_id: WorkspaceId, customer_ids: Iterable[CustomerId], deadline: Deadline
    ) -> AsyncGenerator[None]:
        """Hold the locks of these customers; taken in order, so that two calls cannot block.

        Raises LogUnavailable when they are not free before the deadline.
        """
        async with AsyncExitStack() as stack:
            for customer_id in sorted(set(customer_ids)):
                await stack.enter_async_context(
                    self._hold_one((workspace_id, customer_id), deadline)
                )
            yield

    @asynccontextmanager
    async def _hold_one(self, name: _Name, deadline: Deadline) -> AsyncGenerator[None]:
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._users[name] = self._users.get(name, 0) + 1
        try:
            async with deadline.ends():
                await lock.acquire()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._users[name] -= 1
            if self._users[name] == 0:
                del self._users[name], self._locks[name]
