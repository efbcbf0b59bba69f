"""Many customers in one command: rows are decided in order, appended together or not at all."""

from typing import Final, Literal, TypeAlias

from msgspec import Struct

from command_side.appender import Appender
from command_side.commands import BulkRow, BulkUpsert, CreateCustomer, Origin, UpdateCustomer
from command_side.customer import Live, Unknown, decide, rules_broken
from command_side.draft import Draft, DraftCustomer
from command_side.errors import ExternalIdTaken, InvalidFields, TooBusy
from command_side.handler import ATTEMPTS_MAX, Token, accepted, token_of
from command_side.locks import CustomerLocks
from events.append import AppendLog
from events.customer import CustomerData
from events.envelope import CustomerId
from events.keys import Keyring
from runtime.field_error import FieldError

Status: TypeAlias = Literal["created", "updated", "unchanged"]

ROWS_MAX: Final = 500


class RowDone(Struct, frozen=True, kw_only=True):
    """A row that is as it was wished."""

    index: int
    external_id: str
    status: Status
    id: CustomerId
    version: int


class RowFailed(Struct, frozen=True, kw_only=True):
    """A row that was refused; the others are not touched by it."""

    index: int
    external_id: str | None
    status: Literal["failed"] = "failed"
    errors: tuple[FieldError, ...]


RowResult: TypeAlias = RowDone | RowFailed


class BulkDone(Struct, frozen=True, kw_only=True):
    """What became of every row that could be read, in the order of the rows."""

    results: tuple[RowResult, ...]
    token: Token | None


class BulkHandler:
    """Runs bulk commands."""

    def __init__(
        self, event_log: AppendLog, appender: Appender, keyring: Keyring, locks: CustomerLocks
    ) -> None:
        self._log = event_log
        self._appender = appender
        self._keyring = keyring
        self._locks = locks

    async def upsert(self, command: BulkUpsert, origin: Origin) -> BulkDone:
        """Create or update every row's customer. Raises TooBusy, LogUnavailable.

        An atomic command raises InvalidFields with the errors of all rows.
        """
        external_ids = sorted({row.external_id for row in command.rows})
        if not external_ids:
            return BulkDone(results=(), token=None)
        for _ in range(ATTEMPTS_MAX):
            holders = await self._log.find_reservations(origin.workspace_id, external_ids)
            async with self._locks.hold(holders.values()):
                done = await self._attempt(command, origin, holders)
            if done is not None:
                return done
        raise TooBusy

    async def _attempt(
        self, command: BulkUpsert, origin: Origin, holders: dict[str, CustomerId]
    ) -> BulkDone | None:
        newest = await self._log.read_newest(origin.workspace_id, list(holders.values()))
        draft = Draft(self._keyring, origin)
        customers = {
            external_id: draft.add_known(newest[holder])
            for external_id, holder in holders.items()
            if holder in newest
        }
        if any(customer.held_before != name for name, customer in customers.items()):
            # Deleted or renamed between the two looks: the name is another's, or nobody's, by now.
            return None
        results = tuple(_decide_row(draft, customers, row, origin) for row in command.rows)
        failed = [result for result in results if isinstance(result, RowFailed)]
        if command.atomic and failed:
            raise InvalidFields(tuple(error for row in failed for error in row.errors))
        if draft.event_count == 0 or command.dry_run:
            return BulkDone(results=results, token=None)
        try:
            appended = accepted(await self._appender.append(draft.group()))
        except ExternalIdTaken:
            # Somebody created one of the keys since they were looked up: it is an update now.
            return None
        if appended is None:
            return None
        return BulkDone(results=results, token=token_of(appended, draft.event_count))


def _decide_row(
    draft: Draft, customers: dict[str, DraftCustomer], row: BulkRow, origin: Origin
) -> RowResult:
    known = customers.get(row.external_id)
    state = Unknown() if known is None else known.state
    command = (
        CreateCustomer(changes=row.changes)
        if known is None
        else UpdateCustomer(changes=row.changes)
    )
    try:
        events = [] if row.errors else decide(state, command, origin)
        refused = bool(row.errors)
    except InvalidFields:
        events, refused = [], True
    if refused:
        before = state.data if isinstance(state, Live) else CustomerData()
        errors = rules_broken(before, row.changes, row.errors, row.pointer)
        return RowFailed(index=row.index, external_id=row.external_id, errors=errors)
    customer = draft.add_new() if known is None else known
    draft.record(customer, events)
    customers[row.external_id] = customer
    status: Status = "created" if known is None else "updated" if events else "unchanged"
    return RowDone(
        index=row.index,
        external_id=row.external_id,
        status=status,
        id=customer.customer_id,
        version=customer.version,
    )
