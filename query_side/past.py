"""Customers as they were: in a version, or at a moment; one of them, or all page by page.

Read from the log itself, at a place in the workspace's own sequence: what is found there is found
again for ever, erasures apart.
"""

from datetime import datetime
from typing import Final, TypeAlias

from msgspec import Struct

from events.envelope import CustomerId, StreamVersion, WorkspaceId
from events.feed import FeedPlace
from events.history import FoundInPast, HistoryLog, PastCustomer
from events.keys import Keyring
from events.past_document import past_document
from query_side.access_log import AccessLog
from query_side.reads import HistoryGone
from runtime.api_keys import Principal

LOOKS: Final = 500
"""So many customers at most are looked at for one page."""
_FIRST: Final = StreamVersion(1)
_DELETED: Final = "CustomerDeleted"

AsOf: TypeAlias = int | datetime
"""A version, or a moment."""


class MomentToCome(Exception):
    """How things will be at a moment that is still to come, nobody can say."""


class LostMoment(HistoryGone):
    """A cursor goes on at a place that the log does not have, or has with other events before."""

    def __init__(self) -> None:
        super().__init__(
            "The list of this cursor is lost: the service was restored to an earlier point. Ask "
            "for it again without a cursor."
        )


class CustomerThen(Struct, frozen=True, kw_only=True):
    """A customer as it was, as finished JSON; None when there was none."""

    document: bytes | None = None
    version: int | None = None
    erased: bool = False
    """Whether the workspace had it, and it was erased by now."""


class PageThen(Struct, frozen=True, kw_only=True):
    """Customers as they were, as finished JSON documents joined by commas."""

    documents: bytes
    next_before: int | None
    """Goes on with customers created before this event of the workspace; None at the end."""


class Past:
    """Answers how the customers of a workspace were; to nobody of another one.

    Raises AccessNotRecorded; CorruptEvent and KeyUnavailable for an event that cannot be opened.
    """

    def __init__(self, history_log: HistoryLog, keyring: Keyring, accesses: AccessLog) -> None:
        self._log = history_log
        self._keyring = keyring
        self._accesses = accesses

    async def get(self, principal: Principal, customer_id: CustomerId, as_of: AsOf) -> CustomerThen:
        """A customer as it was. Raises MomentToCome, but not of a customer there never was."""
        workspace_id = WorkspaceId(principal.workspace_id)
        found, is_to_come = await self._find(workspace_id, customer_id, as_of)
        if found is None or found.erased:
            return CustomerThen(erased=found is not None)
        if is_to_come:
            raise MomentToCome
        await self._accesses.record(principal, "as_of", customer_id)
        if found.then is None or found.then.keyed.stored.type == _DELETED:
            return CustomerThen()
        stored = found.then.keyed.stored
        return CustomerThen(document=self._document(found.then), version=stored.stream_version)

    async def is_erased(self, workspace_id: WorkspaceId, customer_id: CustomerId) -> bool | None:
        """Whether a customer was erased by now; None when the workspace never had it."""
        found = await self._log.read_version(workspace_id, customer_id, _FIRST)
        return None if found is None else found.erased

    async def _find(
        self, workspace_id: WorkspaceId, customer_id: CustomerId, as_of: AsOf
    ) -> tuple[FoundInPast | None, bool]:
        """The customer as it was; as it began, for a moment that is still to come."""
        if isinstance(as_of, int):
            version = StreamVersion(as_of)
            return await self._log.read_version(workspace_id, customer_id, version), False
        place = await self._log.find_moment(workspace_id, as_of)
        if place is None:
            return await self._log.read_version(workspace_id, customer_id, _FIRST), True
        return await self._log.read_at(workspace_id, customer_id, place), False

    async def find_moment(self, workspace_id: WorkspaceId, at: datetime) -> FeedPlace:
        """The place at which a list of a moment is read. Raises MomentToCome."""
        place = await self._log.find_moment(workspace_id, at)
        if place is None:
            raise MomentToCome
        return place

    async def check_place(self, workspace_id: WorkspaceId, place: FeedPlace) -> None:
        """Raises LostMoment when the log does not have this place."""
        if not await self._log.has_moment(workspace_id, place):
            raise LostMoment

    async def list_customers(
        self, principal: Principal, place: FeedPlace, before: int | None, limit: int
    ) -> PageThen:
        """Customers at a place, newest created first; a page may have none and yet go on."""
        workspace_id = WorkspaceId(principal.workspace_id)
        page = await self._log.list_at(workspace_id, place, before, limit=limit, looks=LOOKS)
        await self._accesses.record(principal, "as_of", None)
        return PageThen(
            documents=b",".join(map(self._document, page.customers)),
            next_before=page.next_before,
        )

    def _document(self, past: PastCustomer) -> bytes:
        return past_document(self._keyring, past)
