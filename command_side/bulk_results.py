"""What became of the rows of a bulk command, and how a receipt keeps it."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from command_side.commands import BulkRow, BulkUpsert
from command_side.draft import DraftCustomer
from command_side.handler import KeptEvent
from events.envelope import CustomerId, StreamVersion
from runtime.field_error import FieldError

Status: TypeAlias = Literal["created", "updated", "unchanged"]


class RowDone(Struct, frozen=True, kw_only=True):
    """A row that succeeded."""

    index: int
    external_id: str
    status: Status
    id: CustomerId
    version: StreamVersion


class RowFailed(Struct, frozen=True, kw_only=True):
    """A row that was refused; the others are not touched by it."""

    index: int
    external_id: str | None
    status: Literal["failed"] = "failed"
    errors: tuple[FieldError, ...]


RowResult: TypeAlias = RowDone | RowFailed


class KeptRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a receipt says of a row; of one that failed, only what its own text does not tell."""

    status: Status | Literal["failed"] = "failed"
    id: CustomerId | None = None
    version: StreamVersion | None = None
    errors: tuple[FieldError, ...] = ()


class KeptBulk(Struct, frozen=True, kw_only=True):
    """What the receipt of a bulk command holds: with the same rows, enough to answer again."""

    is_strict: bool
    rows: tuple[KeptRow, ...]
    newest: KeptEvent | None


def keep_results(
    command: BulkUpsert, results: Sequence[RowResult], newest: DraftCustomer | None
) -> KeptBulk:
    """The results without anything that a client wrote."""
    return KeptBulk(
        is_strict=command.is_strict,
        rows=tuple(_keep(row, result) for row, result in zip(command.rows, results, strict=True)),
        newest=None if newest is None else KeptEvent(id=newest.customer_id, version=newest.version),
    )


def recall_results(kept: KeptBulk, rows: Sequence[BulkRow]) -> tuple[RowResult, ...]:
    """The results again, with what the rows say themselves."""
    return tuple(_recall(row, kept_row) for row, kept_row in zip(rows, kept.rows, strict=True))


def _keep(row: BulkRow, result: RowResult) -> KeptRow:
    if isinstance(result, RowDone):
        return KeptRow(status=result.status, id=result.id, version=result.version)
    # The errors that come first are of the row's own text; reading that again finds them.
    return KeptRow(errors=result.errors[len(row.errors) :])


def _recall(row: BulkRow, kept: KeptRow) -> RowResult:
    if kept.status == "failed" or kept.id is None or kept.version is None or not row.external_id:
        errors = row.errors + kept.errors
        return RowFailed(index=row.index, external_id=row.external_id, errors=errors)
    return RowDone(
        index=row.index,
        external_id=row.external_id,
        status=kept.status,
        id=kept.id,
        version=kept.version,
    )
