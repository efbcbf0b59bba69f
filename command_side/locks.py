"""One at a time per customer within a process, so that neighbours need not conflict."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from events.envelope import CustomerId


class CustomerLocks:
    """A lock per customer, kept only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[CustomerId, asyncio.Lock] = {}
        self._users: dict[CustomerId, int] = {}

    @asynccontextmanager
    async def hold(self, customer_ids: Iterable[CustomerId]) -> AsyncGenerator[None]:
        """Hold the locks of these customers; taken in order, so that two calls cannot block."""
        async with AsyncExitStack() as stack:
            for customer_id in sorted(set(customer_ids)):
                await stack.enter_async_context(self._hold_one(customer_id))
            yield

    @asynccontextmanager
    async def _hold_one(self, customer_id: CustomerId) -> AsyncGenerator[None]:
        lock = self._locks.setdefault(customer_id, asyncio.Lock())
        self._users[customer_id] = self._users.get(customer_id, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[customer_id] -= 1
            if self._users[customer_id] == 0:
                del self._users[customer_id], self._locks[customer_id]
