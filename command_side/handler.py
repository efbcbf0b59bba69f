"""Load, decide, append; and decide again when another writer was faster."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias, assert_never

import msgspec
from msgspec import Raw, Struct

from command_side.appender import Appender
from command_side.commands import (
    Command,
    CreateCustomer,
    DeleteCustomer,
    Origin,
    RestoreCustomer,
    UpdateCustomer,
)
from command_side.customer import Live, customer_of, decide
from command_side.deadline import Deadline
from command_side.draft import Draft, DraftCustomer, LogPlace, render
from command_side.errors import (
    CustomerNotFound,
    ExternalIdTaken,
    PersonErased,
    TooBusy,
    VersionMismatch,
)
from command_side.idempotency import AlreadyDone, Claim
from command_side.locks import CustomerLocks
from events.append import (
    Appended,
    AppendLog,
    ExternalIdHeld,
    GroupRefused,
    NewReceipt,
    Outcome,
    Replayed,
    StreamEvent,
    VersionConflict,
)
from events.customer import CustomerData
from events.envelope import CustomerId, StreamVersion
from events.errors import AppendFailed, CorruptEvent
from events.keys import Keyring
from events.token import Tokens
from runtime.conditions import Conditions

ATTEMPTS_MAX: Final = 10

Change: TypeAlias = UpdateCustomer | DeleteCustomer | RestoreCustomer
Action: TypeAlias = Literal["created", "updated", "deleted", "restored"]


class Means(Struct, frozen=True, kw_only=True):
    """What every handler of commands works with."""

    event_log: AppendLog
    appender: Appender
    keyring: Keyring
    locks: CustomerLocks
    tokens: Tokens
    wait_seconds: float
    """How long a command may take."""
    payload_max: int
    """The bytes of the largest event that can be published."""

    def draft(self, origin: Origin) -> Draft:
        """An empty draft of a command."""
        return Draft(self.keyring, origin, payload_max=self.payload_max)

    def deadline(self) -> Deadline:
        """That of a command that begins now."""
        return Deadline(self.wait_seconds)

    async def append(
        self, draft: Draft, receipt: NewReceipt | None, deadline: Deadline
    ) -> Appended | None:
        """Append a draft, whose customers then know since when they are as they are.

        None when another writer was faster. Raises Rejection, LogUnavailable, AlreadyDone.
        """
        appended = _accepted(await self.appender.append(draft.group(receipt), deadline))
        if appended is not None:
            draft.stamp(appended)
        return appended

    async def are_newest(
        self, customers: Sequence[DraftCustomer], origin: Origin, deadline: Deadline
    ) -> bool:
        """Whether customers that nothing is appended to are as the log has them, and it is safe.

        Raises LogUnavailable.
        """
        versions = {customer.customer_id: customer.version for customer in customers}
        async with deadline.ends():
            return await self.event_log.are_newest(origin.workspace_id, versions)

    def token(self, origin: Origin, place: LogPlace) -> str:
        """The consistency token of a place in the log."""
        return self.tokens.issue(
            origin.workspace_id,
            generation=place.generation,
            position=place.position,
            chain=place.chain,
        )


def _all_is_well(_: CustomerData) -> None:
    return None


class Terms(Struct, frozen=True, kw_only=True):
    """On what terms a command runs, as its request said."""

    check: Callable[[CustomerData], None] = _all_is_well
    """Raises what is wrong with the request itself, given the customer it is about."""
    conditions: Conditions = Conditions()
    claim: Claim | None = None
    """The Idempotency-Key under which a receipt is kept."""
    is_strict: bool = False
    """Whether what nobody knows was refused; kept in the receipt."""

    def require(self, version: int | None) -> None:
        """Raises VersionMismatch unless the command is meant for this version of its customer."""
        if not self.conditions.allow_write(version):
            raise VersionMismatch(version)


class Written(Struct, frozen=True, kw_only=True):
    """What a command did to one customer."""

    customer_id: CustomerId
    version: StreamVersion
    action: Action
    document: bytes | None
    """The customer as JSON; None once it is deleted."""
    token: str
    """The consistency token of its newest event."""
    replayed: bool = False
    """Whether it was done before, by a request with the same Idempotency-Key."""
    is_strict: bool = False
    """Whether what nobody knows was refused when it was done before."""


class KeptEvent(Struct, frozen=True, kw_only=True):
    """An event that a receipt speaks of."""

    id: CustomerId
    version: StreamVersion


class _Kept(Struct, frozen=True, kw_only=True):
    """What the receipt of a single command holds: enough to answer again from the events."""

    event: KeptEvent
    action: Action
    is_strict: bool


class Moved(Exception):
    """The customer no longer holds the external_id it was found by. Never told to a client."""


class CommandHandler:
    """Runs commands on single customers."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def create(
        self,
        command: CreateCustomer,
        origin: Origin,
        terms: Terms | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> Written:
        """Make a customer under a new id. Raises Rejection, LogUnavailable, AlreadyDone."""
        draft = self._means.draft(origin)
        written = await self._run(
            draft,
            draft.add_new(),
            command,
            origin,
            terms or Terms(),
            deadline or self._means.deadline(),
        )
        assert written is not None, "nobody else writes to a new id"  # noqa: S101 - a type guard
        return written

    async def change(
        self,
        customer_id: CustomerId,
        command: Change,
        origin: Origin,
        terms: Terms | None = None,
        *,
        held: str | None = None,
        deadline: Deadline | None = None,
    ) -> Written:
        """Run a command on a customer that exists. Raises Rejection, LogUnavailable, AlreadyDone.

        Commands on one customer take turns within the process; a conflict with another process
        makes this one load and decide again, at most ten times. `held` is the external_id by which
        the customer was found; when it is no longer its own, Moved is raised.
        """
        terms, deadline = terms or Terms(), deadline or self._means.deadline()
        async with self._means.locks.hold(origin.workspace_id, [customer_id], deadline):
            for _ in range(ATTEMPTS_MAX):
                draft = self._means.draft(origin)
                async with deadline.ends():
                    customer = await self._load(draft, customer_id, origin, held)
                written = await self._run(draft, customer, command, origin, terms, deadline)
                if written is not None:
                    return written
        raise TooBusy

    async def recall(self, outcome: Raw, origin: Origin) -> Written:
        """What was answered first, from its receipt and the events. Raises PersonErased."""
        kept = msgspec.json.decode(outcome, type=_Kept)
        event = await read_kept(self._means, origin, kept.event)
        if event.erased:
            raise PersonErased
        customer = self._means.draft(origin).add_known(event)
        written = self._written(customer, customer.place, kept.action, origin)
        return msgspec.structs.replace(written, replayed=True, is_strict=kept.is_strict)

    async def _load(
        self, draft: Draft, customer_id: CustomerId, origin: Origin, held: str | None
    ) -> DraftCustomer:
        found = await self._means.event_log.read_newest(origin.workspace_id, [customer_id])
        newest = found.get(customer_id)
        if newest is None:
            raise CustomerNotFound
        if newest.erased:
            raise PersonErased if held is None else Moved
        customer = draft.add_known(newest)
        if held is not None and customer.held_before != held:
            raise Moved
        return customer

    async def _run(
        self,
        draft: Draft,
        customer: DraftCustomer,
        command: Command,
        origin: Origin,
        terms: Terms,
        deadline: Deadline,
    ) -> Written | None:
        """Check, decide, append; None when another writer was faster."""
        # The order of refusals: no such customer, a bad request, another version, a taken key.
        terms.check(customer_of(customer.state, command))
        events = decide(customer.state, command, origin)
        terms.require(customer.version or None)
        draft.record(customer, events)
        action = _action(command)
        receipt = None
        if terms.claim is not None:
            event = KeptEvent(id=customer.customer_id, version=customer.version)
            kept = _Kept(event=event, action=action, is_strict=terms.is_strict)
            receipt = terms.claim.receipt(kept)
        place = customer.place
        if events or receipt is not None:
            appended = await self._means.append(draft, receipt, deadline)
            if appended is None:
                return None
            place = draft.place_in(appended) or place
        elif not await self._means.are_newest([customer], origin, deadline):
            return None
        return self._written(customer, place, action, origin)

    def _written(
        self, customer: DraftCustomer, place: LogPlace | None, action: Action, origin: Origin
    ) -> Written:
        assert place is not None, "it is in the log by now"  # noqa: S101 - a type guard
        data = customer.state.data if isinstance(customer.state, Live) else None
        return Written(
            customer_id=customer.customer_id,
            version=customer.version,
            action=action,
            document=None if data is None else render(customer, data),
            token=self._means.token(origin, place),
        )


async def read_kept(means: Means, origin: Origin, kept: KeptEvent) -> StreamEvent:
    """The event that a receipt speaks of. Raises CorruptEvent."""
    event = await means.event_log.read_at_version(origin.workspace_id, kept.id, kept.version)
    if event is None:
        raise CorruptEvent(
            f"A receipt speaks of version {kept.version} of customer {kept.id}, which is not in "
            "the log."
        )
    return event


def _accepted(outcome: Outcome) -> Appended | None:
    """The outcome of an append when it stands; None on a version conflict.

    Raises Rejection, AlreadyDone.
    """
    match outcome:
        case Appended():
            return outcome
        case VersionConflict():
            return None
        case ExternalIdHeld():
            raise ExternalIdTaken(outcome.external_id, outcome.holder)
        case GroupRefused():
            raise AppendFailed(outcome.sqlstate)
        case Replayed():
            raise AlreadyDone(outcome)
        case _:
            assert_never(outcome)


def _action(command: Command) -> Action:
    match command:
        case CreateCustomer():
            return "created"
        case UpdateCustomer():
            return "updated"
        case DeleteCustomer():
            return "deleted"
        case RestoreCustomer():
            return "restored"
        case _:
            assert_never(command)
