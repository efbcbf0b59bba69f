"""Look-ups gathered: what is asked while one call runs goes into the next, in one call."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from msgspec import Struct

from events.envelope import WorkspaceId

KEYS_PER_CALL: Final = 500

Key = TypeVar("Key")
Found = TypeVar("Found")


class _Asked(Struct, Generic[Key, Found]):
    keys: list[Key]
    answer: asyncio.Future[dict[Key, Found]]


class Gathering(Generic[Key, Found]):
    """A look-up by keys, of which one call at a time runs for each workspace.

    So the calls of many askers are few, and a workspace that asks much keeps no other waiting. A
    call sees whatever was true when one of its askers came, for it begins later.
    """

    def __init__(
        self, look_up: Callable[[WorkspaceId, list[Key]], Awaitable[dict[Key, Found]]]
    ) -> None:
        self._look_up = look_up
        self._queues: dict[WorkspaceId, deque[_Asked[Key, Found]]] = {}
        self._running: dict[WorkspaceId, asyncio.Task[None]] = {}

    async def find(self, workspace_id: WorkspaceId, keys: list[Key]) -> dict[Key, Found]:
        """What the look-up finds for these keys; raises what the call raises that they go into."""
        asked = _Asked[Key, Found](keys, asyncio.get_running_loop().create_future())
        self._queues.setdefault(workspace_id, deque()).append(asked)
        if workspace_id not in self._running:
            self._running[workspace_id] = asyncio.create_task(self._run(workspace_id))
        return await asked.answer

    async def _run(self, workspace_id: WorkspaceId) -> None:
        queue = self._queues[workspace_id]
        try:
            while queue:
                if batch := _take(queue):
                    await self._call(workspace_id, batch)
        finally:
            del self._queues[workspace_id], self._running[workspace_id]

    async def _call(self, workspace_id: WorkspaceId, batch: list[_Asked[Key, Found]]) -> None:
        keys = {key: None for asked in batch for key in asked.keys}
        try:
            found = await self._look_up(workspace_id, list(keys))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who asked are told
            for asked in batch:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            return
        for asked in batch:
            if not asked.answer.done():
                asked.answer.set_result({key: found[key] for key in asked.keys if key in found})


def _take(queue: deque[_Asked[Key, Found]]) -> list[_Asked[Key, Found]]:
    batch: list[_Asked[Key, Found]] = []
    keys = 0
    while queue:
        keys += len(queue[0].keys)
        if batch and keys > KEYS_PER_CALL:
            break
        asked = queue.popleft()
        # Whoever asked may have given up meanwhile.
        if not asked.answer.done():
            batch.append(asked)
    return batch
