"""Applies batches of events to one edition: rows and checkpoint in one call, or nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, cast
from uuid import UUID

import msgspec
import psycopg
import structlog
from msgspec import Struct
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow
from psycopg.types.json import Json

from projections.checkpoint import Checkpoint, open_checkpoint, schema_of
from projections.customers import (
    CustomerRow,
    Folded,
    LogEvent,
    ParkedCustomer,
    explain,
    fold_batch,
    park,
)

Outcome = Literal["applied", "moved", "foreign"]
"""`moved`: the checkpoint is elsewhere. `foreign`: the events are not those of the log."""

# Values that Postgres refuses are the fault of one customer; so is a row too large for an index.
REFUSALS: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
)

# Moves the checkpoint by compare-and-set, and in the same transaction all that follows from it.
_APPLY: Final = """
SELECT {}.apply(%b::int4, %b::int4, %b::int8, %b::int8, %b::bytea,
                %b::json, %b::bytea, %b::json, %b::json)
"""
log = structlog.get_logger()
_encode: Final = msgspec.json.Encoder().encode
# Between these quotes stands a time of 27 characters.
_CREATED_AT: Final = b'"created_at":"'


class _RowParameters(Struct, frozen=True):
    """A row as edition_<n>.apply takes it; the places count from 1."""

    workspace_id: str
    customer_id: UUID
    version: int
    position: int
    created_at: datetime | None
    updated_at: datetime
    document_at: int
    document_length: int
    created_at_at: int
    search_text: str
    tag_keys: list[str]
    tag_spellings: list[str]
    external_id: str | None
    email_key: str | None
    phone: str | None
    email_sort_key: str | None
    last_name_key: str | None
    company_name_key: str | None


class Projector:
    """One edition, one log, one connection, used by one task at a time."""

    def __init__(self, connection: AsyncConnection[TupleRow], checkpoint: Checkpoint) -> None:
        self._connection = connection
        self._apply = sql.SQL(_APPLY).format(schema_of(checkpoint.edition)).as_bytes(connection)
        self.checkpoint = checkpoint

    async def reload(self) -> None:
        """Look where the checkpoint is now."""
        known = self.checkpoint
        self.checkpoint = await open_checkpoint(self._connection, known.edition, known.log_id)

    async def apply(self, events: Sequence[LogEvent]) -> Outcome:
        """Apply events that stand right behind the checkpoint, in order.

        Customers that cannot be folded or written are parked; the others go on. Anything but
        `applied` has changed nothing.
        """
        last = events[-1]
        target = msgspec.structs.replace(self.checkpoint, position=last.position, chain=last.chain)
        folded = fold_batch(events)
        try:
            outcome = await self._write(target, folded)
        except REFUSALS:
            folded = await self._park_culprits(target, folded, events)
            outcome = await self._write(target, folded)
        if outcome == "applied":
            self.checkpoint = target
            for parked in folded.parked:
                log.error(
                    "projector.parked",
                    customer_id=str(parked.customer_id),
                    position=parked.position,
                    reason=parked.reason,
                )
        return outcome

    async def apply_again(self, event: LogEvent) -> ParkedCustomer | None:
        """Apply one event at or before the checkpoint, which stays; why not, if it cannot be."""
        folded = fold_batch([event])
        if folded.parked:
            return folded.parked[0]
        try:
            async with self._connection.transaction():
                await self._write(self.checkpoint, folded)
        except REFUSALS as error:
            return park(event, *explain(error))
        return None

    async def _write(self, target: Checkpoint, folded: Folded) -> Outcome:
        known = self.checkpoint
        documents = b"".join([row.document for row in folded.rows])
        parameters = [
            known.log_id,
            known.generation,
            known.position,
            target.position,
            target.chain,
            Json(_row_parameters(folded.rows), dumps=_encode),
            documents,
            Json(folded.gone, dumps=_encode) if folded.gone else None,
            Json(folded.parked, dumps=_encode) if folded.parked else None,
        ]
        cursor = await self._connection.execute(self._apply, parameters)
        row = await cursor.fetchone()
        assert row is not None, "a function of one result"  # noqa: S101 - a type guard
        return cast(Outcome, row[0])

    async def _park_culprits(
        self, target: Checkpoint, folded: Folded, events: Sequence[LogEvent]
    ) -> Folded:
        """Try every customer alone, without effect, and park those that are refused."""
        rows: list[CustomerRow] = []
        parked = list(folded.parked)
        for row in folded.rows:
            alone = Folded(rows=[row], gone=[], parked=[])
            try:
                async with self._connection.transaction(force_rollback=True):
                    await self._write(target, alone)
                rows.append(row)
            except REFUSALS as error:
                first = next(event for event in events if event.stream_id == row.customer_id)
                parked.append(park(first, *explain(error)))
        return Folded(rows=rows, gone=folded.gone, parked=parked)


def _row_parameters(rows: Sequence[CustomerRow]) -> list[_RowParameters]:
    parameters: list[_RowParameters] = []
    place = 1
    for row in rows:
        created_at_at = row.document.rindex(_CREATED_AT) + len(_CREATED_AT) + 1
        parameters.append(
            _RowParameters(
                row.workspace_id,
                row.customer_id,
                row.version,
                row.position,
                row.created_at,
                row.updated_at,
                place,
                len(row.document),
                created_at_at,
                row.search_text,
                row.tag_keys,
                row.tag_spellings,
                row.external_id,
                row.email_key,
                row.phone,
                row.email_sort_key,
                row.last_name_key,
                row.company_name_key,
            )
        )
        place += len(row.document)
    return parameters
