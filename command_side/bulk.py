"""Many customers in one command: rows are decided in order, appended together or not at all."""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw, Struct

from command_side.bulk_results import (
    KeptBulk,
    RowDone,
    RowFailed,
    RowResult,
    Status,
    keep_results,
    recall_results,
)
from command_side.commands import BulkRow, BulkUpsert, CreateCustomer, Origin, UpdateCustomer
from command_side.customer import State, Unknown, customer_of, decide, rules_broken
from command_side.deadline import Deadline
from command_side.draft import Draft, DraftCustomer, log_place_of
from command_side.errors import (
    EventTooLarge,
    ExternalIdTaken,
    InvalidFields,
    TooBusy,
    VersionMismatch,
)
from command_side.handler import ATTEMPTS_MAX, Means, read_kept
from command_side.idempotency import Claim
from events.customer import CustomerEvent
from events.envelope import CustomerId
from runtime.field_error import FieldError

ROWS_MAX: Final = 500


class BulkDone(Struct, frozen=True, kw_only=True):
    """What became of every row, in their order."""

    results: tuple[RowResult, ...]
    is_strict: bool
    """Whether rows with members that nobody knows were refused."""
    token: str | None
    """The consistency token of the newest event of all customers; None when there are none."""
    replayed: bool = False
    """Whether it was done before, by a request with the same Idempotency-Key."""


class BulkHandler:
    """Runs bulk commands."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def upsert(
        self, command: BulkUpsert, origin: Origin, claim: Claim | None = None
    ) -> BulkDone:
        """Create or update every row's customer. Raises TooBusy, LogUnavailable, AlreadyDone.

        An atomic command raises InvalidFields with the errors of all rows.
        """
        external_ids = sorted(
            {row.external_id for row in command.rows if row.readable and row.external_id}
        )
        deadline = self._means.deadline()
        for _ in range(ATTEMPTS_MAX):
            async with deadline.ends():
                holders = await self._means.event_log.find_reservations(
                    origin.workspace_id, external_ids
                )
            async with self._means.locks.hold(origin.workspace_id, holders.values(), deadline):
                done = await self._attempt(command, origin, claim, holders, deadline)
            if done is not None:
                return done
        raise TooBusy

    async def recall(
        self, outcome: Raw, read_rows: Callable[[bool], tuple[BulkRow, ...]], origin: Origin
    ) -> BulkDone:
        """What was answered first, from its receipt and the same rows, read as they were then."""
        kept = msgspec.json.decode(outcome, type=KeptBulk)
        token = None
        if kept.newest is not None:
            event = await read_kept(self._means, origin, kept.newest)
            token = self._means.token(origin, log_place_of(event))
        return BulkDone(
            results=recall_results(kept, read_rows(kept.is_strict)),
            is_strict=kept.is_strict,
            token=token,
            replayed=True,
        )

    async def _attempt(
        self,
        command: BulkUpsert,
        origin: Origin,
        claim: Claim | None,
        holders: dict[str, CustomerId],
        deadline: Deadline,
    ) -> BulkDone | None:
        """Load, decide, append; None when the customers moved meanwhile."""
        draft = self._means.draft(origin)
        async with deadline.ends():
            customers = await self._load(draft, origin, holders)
        if any(known.held_before != external_id for external_id, known in customers.items()):
            # Deleted or renamed between the two looks: another has the external_id now, or nobody.
            return None
        results = tuple(_decide_row(draft, customers, row, origin) for row in command.rows)
        failed = [result for result in results if isinstance(result, RowFailed)]
        if command.atomic and failed:
            raise InvalidFields(tuple(error for row in failed for error in row.errors))
        if command.dry_run:
            return BulkDone(results=results, is_strict=command.is_strict, token=None)
        done = [customers[row.external_id] for row in results if isinstance(row, RowDone)]
        newest = draft.changed_last or max(done, key=_position, default=None)
        place = None if newest is None else newest.place
        receipt = claim and claim.receipt(keep_results(command, results, newest))
        if draft.changed_last is not None or receipt is not None:
            try:
                appended = await self._means.append(draft, receipt, deadline)
            except ExternalIdTaken:
                # Somebody created one of the external_ids since they were looked up: an update now.
                return None
            if appended is None:
                return None
            place = draft.place_in(appended) or place
        elif done and not await self._means.are_newest(done, origin, deadline):
            return None
        token = None if place is None else self._means.token(origin, place)
        return BulkDone(results=results, is_strict=command.is_strict, token=token)

    async def _load(
        self, draft: Draft, origin: Origin, holders: dict[str, CustomerId]
    ) -> dict[str, DraftCustomer]:
        log = self._means.event_log
        newest = await log.read_newest(origin.workspace_id, list(holders.values()))
        return {
            external_id: draft.add_known(newest[holder])
            for external_id, holder in holders.items()
            if holder in newest and not newest[holder].erased
        }


def _decide_row(
    draft: Draft, customers: dict[str, DraftCustomer], row: BulkRow, origin: Origin
) -> RowResult:
    if not row.readable or row.external_id is None:
        return RowFailed(index=row.index, external_id=row.external_id, errors=row.errors)
    known = customers.get(row.external_id)
    try:
        events = _decide_events(known, row, origin)
        customer = draft.add_new() if known is None else known
        draft.record(customer, events)
    except InvalidFields as refused:
        return RowFailed(index=row.index, external_id=row.external_id, errors=refused.errors)
    except EventTooLarge as refused:
        errors = (too_large_error(row.pointer, refused),)
        return RowFailed(index=row.index, external_id=row.external_id, errors=errors)
    customers[row.external_id] = customer
    status: Status = "created" if known is None else "updated" if events else "unchanged"
    return RowDone(
        index=row.index,
        external_id=row.external_id,
        status=status,
        id=customer.customer_id,
        version=customer.version,
    )


def _decide_events(
    known: DraftCustomer | None, row: BulkRow, origin: Origin
) -> list[CustomerEvent]:
    """What a row leads to; raises InvalidFields with all that is wrong with it."""
    state, version = (Unknown(), None) if known is None else (known.state, known.version)
    command = (
        CreateCustomer(changes=row.changes)
        if known is None
        else UpdateCustomer(changes=row.changes)
    )
    if row.errors:
        raise InvalidFields(_all_broken(state, command, row))
    try:
        events = decide(state, command, origin)
    except InvalidFields:
        raise InvalidFields(_all_broken(state, command, row)) from None
    if row.if_version is not None and row.if_version != version:
        raise InvalidFields((version_error(row.pointer, version),))
    return events


def _all_broken(
    state: State, command: CreateCustomer | UpdateCustomer, row: BulkRow
) -> tuple[FieldError, ...]:
    return rules_broken(customer_of(state, command), row.changes, row.errors, row.pointer)


def _position(customer: DraftCustomer) -> int:
    return 0 if customer.place is None else customer.place.position


def version_error(pointer: str, version: int | None) -> FieldError:
    """What is wrong with the row at `pointer`, whose customer is not at its `if_version`."""
    words = (
        "No customer has this external_id, so none has a version."
        if version is None
        else str(VersionMismatch(version))
    )
    return FieldError(
        field="if_version",
        error=words,
        code=VersionMismatch.code,
        pointer=f"{pointer}/if_version",
    )


def too_large_error(pointer: str, refused: EventTooLarge) -> FieldError:
    """What is wrong with the row at `pointer`, whose event could not be published."""
    return FieldError(field="body", error=str(refused), code=refused.code, pointer=pointer)
