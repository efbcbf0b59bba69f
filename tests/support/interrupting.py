"""A command side on a log in memory, on which something happens at the worst moment."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from command_side.app import CommandSide, command_side
from events.append import Replayed, StreamEvent
from events.envelope import CustomerId, Position, WorkspaceId
from events.erasure import Erasures
from events.erasure_receipt import Retention
from events.keys import Keyring
from events.memory_log import MemoryLog
from events.token import Tokens
from runtime.postgres import Role, make_pool
from runtime.sealing import Sealer
from runtime.settings import Settings, read_master_keys


class InterruptedLog(MemoryLog):
    """A log on which something happens right after a look-up, once."""

    def __init__(self) -> None:
        super().__init__()
        self.interruption: Callable[[], Awaitable[object]] | None = None
        """Behind a look-up of external_ids."""
        self.receipt_interruption: Callable[[], Awaitable[object]] | None = None
        """Behind a look-up of a receipt."""
        self.newest_interruption: Callable[[], Awaitable[object]] | None = None
        """Behind a look-up of customers."""

    async def find_reservations(
        self, workspace_id: WorkspaceId, external_ids: list[str]
    ) -> dict[str, CustomerId]:
        """The holders as they are now; then the interruption."""
        found = await super().find_reservations(workspace_id, external_ids)
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            await interruption()
        return found

    async def read_receipt(self, workspace_id: WorkspaceId, key_hmac: bytes) -> Replayed | None:
        """The receipt as it is now; then the interruption."""
        found = await super().read_receipt(workspace_id, key_hmac)
        interruption, self.receipt_interruption = self.receipt_interruption, None
        if interruption is not None:
            await interruption()
        return found

    async def read_newest(
        self, workspace_id: WorkspaceId, stream_ids: list[CustomerId]
    ) -> dict[CustomerId, StreamEvent]:
        """The customers as they are now; then the interruption."""
        found = await super().read_newest(workspace_id, stream_ids)
        interruption, self.newest_interruption = self.newest_interruption, None
        if interruption is not None:
            await interruption()
        return found

    async def find_quietly(self, workspace_id: WorkspaceId, external_id: str) -> CustomerId | None:
        """The holder as it is now, and nothing happens."""
        return (await super().find_reservations(workspace_id, [external_id])).get(external_id)


@asynccontextmanager
async def a_side(
    log: MemoryLog, settings: Settings, *, wait_seconds: float = 10
) -> AsyncGenerator[CommandSide]:
    """A command side on a log in memory."""

    async def nobody(_: Position) -> None:
        """Nobody is told."""

    keys = read_master_keys(settings)
    tokens = Tokens(Sealer(keys), log.log_id)
    pool = make_pool(settings, Role.API, "test erasures", size=1)
    async with command_side(
        log,
        Erasures(pool, log.log_id, append_pool=pool),
        Keyring(keys),
        tokens,
        retention=Retention(scrub_days=7, backup_days=35),
        on_appended=nobody,
        wait_seconds=wait_seconds,
        receipt_days=2,
        payload_max=1_000_000,
    ) as side:
        yield side
