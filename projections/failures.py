"""Parked customers: those whose events the read model could not take, and another try at them."""

from datetime import datetime

from msgspec import Struct
from psycopg import AsyncConnection, Rollback, sql
from psycopg.rows import TupleRow, args_row

from events.envelope import CustomerId, Position, WorkspaceId
from events.keys import Keyring
from events.log import LogReader
from projections.checkpoint import open_checkpoint, schema_of
from projections.customers import ParkedCustomer
from projections.opening import open_events
from projections.projector import Projector

# The newest event of a customer that the read model has passed.
_NEWEST = """
SELECT e.position FROM log.events e
 WHERE e.stream_id = %s AND e.log_id = %s AND e.position <= %s
 ORDER BY e.stream_version DESC LIMIT 1
"""


class ParkedRecord(Struct, frozen=True):
    """A parked customer as it is kept; `stack` may quote the customer."""

    workspace_id: WorkspaceId
    customer_id: CustomerId
    position: Position
    reason: str
    stack: str
    parked_at: datetime


async def list_failures(
    connection: AsyncConnection[TupleRow], edition: int, log_id: int
) -> list[ParkedRecord]:
    """Every parked customer of a log, the longest parked first."""
    query = sql.SQL("SELECT * FROM {}.read_parked(%s)").format(schema_of(edition))
    async with connection.cursor(row_factory=args_row(ParkedRecord)) as cursor:
        await cursor.execute(query, [log_id])
        return await cursor.fetchall()


async def retry_failure(
    connection: AsyncConnection[TupleRow],
    keyring: Keyring,
    edition: int,
    log_id: int,
    workspace_id: WorkspaceId,
    customer_id: CustomerId,
) -> ParkedCustomer | None:
    """Try a parked customer's newest event again; None when the customer is up to date now.

    Otherwise the customer stays parked, and the answer says why this time. Projecting waits
    meanwhile: the checkpoint is locked.
    """
    async with connection.transaction() as transaction:
        projector = Projector(connection, await open_checkpoint(connection, edition, log_id))
        query = sql.SQL("SELECT {}.unpark(%s, %s)").format(schema_of(edition))
        await connection.execute(query, [workspace_id, customer_id])
        passed = projector.checkpoint.position
        cursor = await connection.execute(_NEWEST, [customer_id, log_id, passed])
        row = await cursor.fetchone()
        if row is None:
            return None
        newest = await LogReader(connection, log_id).read_at(Position(row[0]))
        assert newest is not None, "the log has just named it"  # noqa: S101 - a type guard
        parked = await projector.apply_again(open_events(keyring, [newest])[0])
        if parked is not None:
            raise Rollback(transaction)
        return None
    return parked
