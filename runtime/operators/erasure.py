"""Erasures for one operator: made, and read again. Each is recorded as an access."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final, LiteralString

from msgspec import Struct
from psycopg.rows import args_row

from events.envelope import CustomerId, WorkspaceId
from events.erasure import Erasure, erase_customer, forget_soon, read_erasure, read_erasures
from events.erasure_receipt import Receipt, Retention, receipt_of
from runtime.accesses import Access, record_access
from runtime.failure import Failure
from runtime.postgres import Role, connect
from runtime.settings import Settings

_NAME: Final = "customers erase"
_FINISH_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.1

# What there is to say of a customer without reading it.
_LOOK: Final[LiteralString] = """
SELECT l.workspace_id, l.stream_version, l.type, first.recorded_at, l.recorded_at
  FROM (SELECT * FROM log.events WHERE stream_id = %b::uuid AND log_id = %b::int4
         ORDER BY stream_version DESC LIMIT 1) l
  JOIN log.events first ON first.stream_id = l.stream_id AND first.stream_version = 1
"""


class Somebody(Struct, frozen=True):
    """A customer as an operator may know it: nothing of the person."""

    workspace_id: WorkspaceId
    events: int
    newest: str
    """The type of the newest event."""
    created_at: datetime
    changed_at: datetime

    @property
    def is_erased(self) -> bool:
        """Whether there is nothing to erase any more."""
        return self.newest == "CustomerErased"


class OperatorErasures:
    """Erases customers of a log, and reads the receipts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._retention = Retention(
            scrub_days=settings.scrub_days, backup_days=settings.backup_days
        )

    async def look(self, customer_id: CustomerId) -> Somebody:
        """The customer; raises Failure when the log has none of this id."""
        async with await connect(self._settings, Role.RELAY, _NAME) as connection:
            cursor = connection.cursor(row_factory=args_row(Somebody))
            await cursor.execute(_LOOK, [customer_id, self._settings.log_id])
            found = await cursor.fetchone()
        if found is None:
            raise Failure(
                f"Log {self._settings.log_id} has no customer {customer_id}.",
                "customers events tail, which shows the ids",
            )
        return found

    async def erase(self, workspace_id: WorkspaceId, customer_id: CustomerId) -> Receipt:
        """Erase a customer; of one that is erased, the receipt again.

        A relay that is running has a moment to do its part.
        """
        settings = self._settings
        async with await connect(settings, Role.RELAY, _NAME) as connection:
            access = Access(action="erasure", workspace_id=workspace_id, customer_id=customer_id)
            await record_access(connection, access)
            erased = await erase_customer(connection, settings.log_id, workspace_id, customer_id)
            await forget_soon(connection, workspace_id, customer_id)
            erased = await read_erasure(connection, workspace_id, customer_id) or erased
            seconds = _FINISH_SECONDS if settings.nats_url else 0
            deadline = asyncio.get_running_loop().time() + seconds
            while asyncio.get_running_loop().time() < deadline:
                erased = await read_erasure(connection, workspace_id, customer_id)
                if erased is None or self._receipt(erased, customer_id).finished:
                    break
                await asyncio.sleep(_LOOK_SECONDS)
        return self._receipt(erased, customer_id)

    async def find(self, workspace_id: WorkspaceId, customer_id: CustomerId) -> Receipt:
        """The receipt of an erasure; raises Failure when there was none."""
        async with await connect(self._settings, Role.RELAY, _NAME) as connection:
            await record_access(connection, _look(workspace_id, customer_id))
            erased = await read_erasure(connection, workspace_id, customer_id)
        return self._receipt(erased, customer_id)

    async def find_all(
        self, workspace_id: WorkspaceId | None
    ) -> AsyncGenerator[tuple[WorkspaceId, Receipt]]:
        """The receipts of all erasures, or of a workspace's, the oldest first."""
        settings = self._settings
        async with await connect(settings, Role.RELAY, _NAME) as connection:
            await record_access(connection, _look(workspace_id, None))
            async for erasure in read_erasures(connection, settings.log_id, workspace_id):
                yield erasure.workspace_id, receipt_of(erasure, self._retention)

    def _receipt(self, erasure: Erasure | None, customer_id: CustomerId) -> Receipt:
        if erasure is None:
            raise Failure(
                f"Customer {customer_id} was never erased.",
                f"customers erase --customer {customer_id}, if that is what you want",
            )
        return receipt_of(erasure, self._retention)


def _look(workspace_id: WorkspaceId | None, customer_id: CustomerId | None) -> Access:
    return Access(action="receipt", workspace_id=workspace_id, customer_id=customer_id)
