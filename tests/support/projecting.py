"""A read model brought up to date with the log by hand, batch by batch."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from projections.checkpoint import find_live_edition, open_checkpoint
from projections.customers import LogEvent
from projections.opening import open_events
from projections.projector import Projector
from runtime.postgres import Role, connect
from runtime.settings import Settings, read_master_keys


class Projecting:
    """One projector of the live edition on a connection of its own."""

    def __init__(
        self, connection: AsyncConnection[TupleRow], projector: Projector, keyring: Keyring
    ) -> None:
        self.connection = connection
        self.projector = projector
        self._keyring = keyring
        self._reader = LogReader(connection, projector.checkpoint.log_id)

    @property
    def position(self) -> Position:
        """The checkpoint as this projector knows it."""
        return self.projector.checkpoint.position

    async def read(self, limit: int = 1000) -> list[LogEvent]:
        """The log's events behind the checkpoint."""
        return open_events(self._keyring, await self._reader.read_after(self.position, limit))

    async def catch_up(self, batch: int = 1000) -> None:
        """Apply everything the log has, in batches."""
        while events := await self.read(batch):
            assert await self.projector.apply(events) == "applied"


@asynccontextmanager
async def projecting(settings: Settings, keyring: Keyring) -> AsyncGenerator[Projecting]:
    """A projector of the live edition in the role it has in production."""
    async with await connect(settings, Role.PROJECTOR, "test projector") as connection:
        edition = await find_live_edition(connection)
        checkpoint = await open_checkpoint(connection, edition, settings.log_id)
        yield Projecting(connection, Projector(connection, checkpoint), keyring)


def project(settings: Settings) -> None:
    """Bring the live edition to the end of the log."""

    async def catch_up() -> None:
        async with projecting(settings, Keyring(read_master_keys(settings))) as model:
            await model.catch_up()

    asyncio.run(catch_up())
