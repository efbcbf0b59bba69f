"""Erasure in the database: a customer's key is destroyed, and nobody reads the person ever again.

One call of `log.erase` appends CustomerErased and destroys the key, in one transaction under the
log's lock: a write of the same customer is before it, and unreadable, or behind it, and refused.
What else has to forget is told by the row that it leaves in `log.erasures`; whoever comes next
goes on there, after a crash at any point.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Final, LiteralString
from uuid import UUID

import msgspec
import psycopg
import structlog
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, args_row

from events.append import NewReceipt
from events.envelope import CustomerId, Metadata, Position, StreamVersion, WorkspaceId
from events.errors import LogUnavailable
from runtime.accesses import Access, record_access
from runtime.ids import new_id
from runtime.postgres import Pool, ask

FORGET_SECONDS: Final = 2
"""How long an erasure waits for the read model; the relay sees to what took longer."""

_ERASE: Final[LiteralString] = """
SELECT * FROM log.erase(%b, %b::int4, %b::uuid, %b::uuid, %b::uuid, %b::bytea,
                        %b::bytea, %b::bytea, %b::text)
"""
_READ: Final[LiteralString] = "SELECT * FROM log.read_erasure(%b, %b::uuid)"

# What stands behind a position, a page at a time; the erasures of a workspace have their own index.
_LIST: Final[LiteralString] = """
SELECT x.log_id, log.current_generation(x.log_id), x.position, e.chain, e.stream_version,
       x.workspace_id, x.stream_id, cardinality(x.positions), x.erased_at, x.key_destroyed_at,
       x.reservations, x.receipts, x.forgotten_at, x.editions, x.ledger_at,
       x.messages_deleted_at, x.messages, log.scrubbed_at(x.log_id, x.position)
  FROM log.erasures x JOIN log.events e ON e.log_id = x.log_id AND e.position = x.position
 WHERE x.log_id = %b::int4 AND x.position > %b::int8
   AND (%b::text IS NULL OR x.workspace_id = %b::text)
 ORDER BY x.position LIMIT %b::int4
"""
_PAGE: Final = 1000

# Every edition of the read model, in a transaction of its own: nobody who appends waits for it.
_FORGET: Final[LiteralString] = "SELECT projections.forget(%b, %b::uuid)"
_FORGET_IN_REBUILDS: Final[LiteralString] = "SELECT projections.forget_in_rebuilds()"
_IN_TIME: Final[LiteralString] = "SELECT set_config('lock_timeout', %b, true)"

log = structlog.get_logger()


class Erasure(Struct, frozen=True, kw_only=True):
    """What an erasure destroyed, and which of its steps are done: a row of `log.read_erasure`."""

    log_id: int
    generation: int
    """The log's generation now."""
    position: Position
    """Of its CustomerErased."""
    chain: bytes
    stream_version: StreamVersion
    workspace_id: WorkspaceId
    stream_id: CustomerId
    events: int
    """How many events nobody can read any more."""
    erased_at: datetime
    key_destroyed_at: datetime
    reservations: int
    receipts: int
    forgotten_at: datetime | None
    """When every edition of the read model had forgotten the customer."""
    editions: int | None
    ledger_at: datetime | None
    """When the ledger outside of the database named the erasure."""
    messages_deleted_at: datetime | None
    messages: int | None
    scrubbed_at: datetime | None = None
    """Since when no file of the database's server holds anything of the customer."""


class Erasures:
    """Erasures as an API process makes them: each recorded as an access of its key.

    Only what holds the log's lock takes its turn with the appends, on `append_pool`; the read
    model may be busy, and whoever writes does not wait for it.
    """

    def __init__(self, pool: Pool, log_id: int, *, append_pool: Pool) -> None:
        self._pool = pool
        self._append_pool = append_pool
        self._log_id = log_id
        # So that a busy read model keeps one connection busy, and not all of them.
        self._forgetting = asyncio.Lock()

    async def erase(
        self,
        access: Access,
        workspace_id: WorkspaceId,
        customer_id: CustomerId,
        metadata: Metadata,
        receipt: NewReceipt | None = None,
    ) -> Erasure | None:
        """Erase a customer, or answer the erasure that was before; None for nobody's.

        May be sent again whatever became of it. Raises LogUnavailable.
        """

        async def erase(connection: AsyncConnection[TupleRow]) -> Erasure | None:
            async with connection.transaction() as transaction:
                await record_access(connection, access)
                erased = await erase_customer(
                    connection, self._log_id, workspace_id, customer_id, metadata, receipt
                )
                if erased is None:
                    # Nobody was erased, so nobody is said to have been.
                    raise psycopg.Rollback(transaction)
                return erased
            return None

        async def read(connection: AsyncConnection[TupleRow]) -> Erasure | None:
            return await read_erasure(connection, workspace_id, customer_id)

        try:
            erased = await ask(self._append_pool, erase)
            if erased is None or erased.forgotten_at is not None:
                return erased
            await self._forget(workspace_id, customer_id)
            return await ask(self._pool, read)
        except psycopg.OperationalError as error:
            raise LogUnavailable("The database does not answer.") from error

    async def _forget(self, workspace_id: WorkspaceId, customer_id: CustomerId) -> None:
        async def forget(connection: AsyncConnection[TupleRow]) -> bool:
            return await forget_soon(connection, workspace_id, customer_id)

        try:
            async with asyncio.timeout(FORGET_SECONDS):
                await self._forgetting.acquire()
        except TimeoutError:
            log.warning("erasure.read_model_busy", customer_id=str(customer_id))
            return
        try:
            await ask(self._pool, forget)
        finally:
            self._forgetting.release()

    async def find(
        self, access: Access, workspace_id: WorkspaceId, customer_id: CustomerId
    ) -> Erasure | None:
        """The erasure of a customer, if there was one. Raises LogUnavailable."""

        async def read(connection: AsyncConnection[TupleRow]) -> Erasure | None:
            await record_access(connection, access)
            return await read_erasure(connection, workspace_id, customer_id)

        try:
            return await ask(self._pool, read)
        except psycopg.OperationalError as error:
            raise LogUnavailable("The database does not answer.") from error


async def erase_customer(
    connection: AsyncConnection[TupleRow],
    log_id: int,
    workspace_id: WorkspaceId,
    customer_id: CustomerId,
    metadata: Metadata | None = None,
    receipt: NewReceipt | None = None,
) -> Erasure | None:
    """Append CustomerErased and destroy the key; None when the workspace has no such customer."""
    kept = (None, None, None)
    if receipt is not None:
        kept = (receipt.key_hmac, receipt.payload_hmac, receipt.outcome.decode())
    said = msgspec.json.encode(metadata or Metadata())
    asked = [workspace_id, log_id, customer_id, new_id(), new_id(), said, *kept]
    return await _one(connection, _ERASE, asked)


async def read_erasure(
    connection: AsyncConnection[TupleRow], workspace_id: WorkspaceId, customer_id: CustomerId
) -> Erasure | None:
    """The erasure of a customer of this workspace, if there was one."""
    return await _one(connection, _READ, [workspace_id, customer_id])


async def read_erasures(
    connection: AsyncConnection[TupleRow], log_id: int, workspace_id: WorkspaceId | None
) -> AsyncGenerator[Erasure]:
    """All erasures of a log, or of one of its workspaces, the oldest first."""
    behind = 0
    while True:
        cursor = connection.cursor(row_factory=args_row(_erasure))
        asked = [log_id, behind, workspace_id, workspace_id, _PAGE]
        page = await (await cursor.execute(_LIST, asked)).fetchall()
        for erasure in page:
            yield erasure
        if len(page) < _PAGE:
            return
        behind = page[-1].position


async def forget_soon(
    connection: AsyncConnection[TupleRow], workspace_id: WorkspaceId, customer_id: UUID
) -> bool:
    """Take an erased customer out of the read model; False when that was too busy just now."""
    try:
        async with connection.transaction():
            await connection.execute(_IN_TIME, [f"{FORGET_SECONDS}s"])
            await connection.execute(_FORGET, [workspace_id, customer_id])
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        log.warning("erasure.read_model_busy", customer_id=str(customer_id))
        return False
    return True


async def forget_in_rebuilds(connection: AsyncConnection[TupleRow]) -> None:
    """Take everybody who was erased out of the editions of the read model that are not complete."""
    try:
        async with connection.transaction():
            await connection.execute(_IN_TIME, [f"{FORGET_SECONDS}s"])
            await connection.execute(_FORGET_IN_REBUILDS)
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        log.warning("erasure.rebuild_busy")


async def _one(
    connection: AsyncConnection[TupleRow], query: LiteralString, asked: Sequence[object]
) -> Erasure | None:
    cursor = connection.cursor(row_factory=args_row(_erasure))
    await cursor.execute(query, asked)
    return await cursor.fetchone()


def _erasure(*columns: object) -> Erasure:
    return Erasure(**dict(zip(Erasure.__struct_fields__, columns, strict=True)))  # pyright: ignore[reportArgumentType] - the columns of log.read_erasure
