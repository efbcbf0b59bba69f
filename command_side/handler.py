"""Load, decide, append; and decide again when another writer was faster."""

from typing import Final

from msgspec import Struct

from command_side.appender import Appender
from command_side.commands import (
    Command,
    CreateCustomer,
    DeleteCustomer,
    Origin,
    UpdateCustomer,
)
from command_side.customer import Live, decide, live
from command_side.draft import Draft, DraftCustomer, render
from command_side.errors import CustomerGone, CustomerNotFound, ExternalIdTaken, TooBusy
from command_side.locks import CustomerLocks
from events.append import (
    Appended,
    AppendLog,
    Failed,
    KeyTaken,
    Outcome,
    Replayed,
    VersionConflict,
)
from events.customer import CustomerData
from events.envelope import CustomerId, Position, StreamVersion
from events.errors import AppendFailed
from events.keys import Keyring

ATTEMPTS_MAX: Final = 10


class Token(Struct, frozen=True, kw_only=True):
    """Where a write ended: what a read must have seen to show it."""

    generation: int
    position: Position
    chain: bytes


class Written(Struct, frozen=True, kw_only=True):
    """What a command did to one customer."""

    customer_id: CustomerId
    version: StreamVersion
    document: bytes | None
    """The customer as JSON; None once it is deleted."""
    token: Token | None
    """None when nothing changed."""


class CommandHandler:
    """Runs commands on single customers."""

    def __init__(
        self, event_log: AppendLog, appender: Appender, keyring: Keyring, locks: CustomerLocks
    ) -> None:
        self._log = event_log
        self._appender = appender
        self._keyring = keyring
        self._locks = locks

    async def create(self, command: CreateCustomer, origin: Origin) -> Written:
        """Make a customer under a new id. Raises Rejection, LogUnavailable."""
        draft = Draft(self._keyring, origin)
        written = await self._append(draft, draft.add_new(), command, origin)
        assert written is not None, "nobody else writes to a new id"  # noqa: S101 - a type guard
        return written

    async def change(
        self, customer_id: CustomerId, command: UpdateCustomer | DeleteCustomer, origin: Origin
    ) -> Written:
        """Run a command on a customer that exists. Raises Rejection, LogUnavailable.

        Commands on one customer take turns within the process; a conflict with another process
        makes this one load and decide again, at most ten times.
        """
        async with self._locks.hold([customer_id]):
            for _ in range(ATTEMPTS_MAX):
                draft = Draft(self._keyring, origin)
                customer = await self._load(draft, customer_id, origin)
                written = await self._append(draft, customer, command, origin)
                if written is not None:
                    return written
        raise TooBusy

    async def find(self, customer_id: CustomerId, origin: Origin) -> CustomerData:
        """The live customer as it is now. Raises CustomerNotFound, CustomerGone."""
        customer = await self._load(Draft(self._keyring, origin), customer_id, origin)
        return live(customer.state)

    async def _load(self, draft: Draft, customer_id: CustomerId, origin: Origin) -> DraftCustomer:
        newest = await self._log.read_newest(origin.workspace_id, [customer_id])
        if customer_id not in newest:
            raise CustomerNotFound
        if newest[customer_id].type == "CustomerErased":
            raise CustomerGone
        return draft.add_known(newest[customer_id])

    async def _append(
        self, draft: Draft, customer: DraftCustomer, command: Command, origin: Origin
    ) -> Written | None:
        """Decide and append; None when another writer was faster."""
        events = decide(customer.state, command, origin)
        if not events:
            return _written(customer, None)
        draft.record(customer, events)
        appended = accepted(await self._appender.append(draft.group()))
        return None if appended is None else _written(customer, (appended, draft.event_count))


def accepted(outcome: Outcome) -> Appended | None:
    """The outcome of an append when it stands; None on a version conflict. Raises Rejection."""
    match outcome:
        case Appended():
            return outcome
        case VersionConflict():
            return None
        case KeyTaken():
            raise ExternalIdTaken(outcome.external_id, outcome.holder)
        case Failed():
            raise AppendFailed(outcome.sqlstate)
        case Replayed():
            raise AssertionError("a group without a receipt is never replayed")


def token_of(appended: Appended, event_count: int) -> Token | None:
    """The token behind the group's last event."""
    if appended.first_position is None:
        return None
    return Token(
        generation=appended.generation,
        position=Position(appended.first_position + event_count - 1),
        chain=appended.chain,
    )


def _written(customer: DraftCustomer, appended: tuple[Appended, int] | None) -> Written:
    recorded_at = customer.updated_at if appended is None else appended[0].recorded_at
    assert recorded_at is not None, "unchanged customers are in the log"  # noqa: S101 - a type guard
    document = None
    if isinstance(customer.state, Live):
        document = render(customer, customer.state.data, recorded_at)
    return Written(
        customer_id=customer.customer_id,
        version=customer.version,
        document=document,
        token=None if appended is None else token_of(*appended),
    )
