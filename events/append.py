"""What goes into one append, and what comes out of it: groups and their outcomes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from msgspec import Raw, Struct

from events.envelope import (
    CustomerId,
    NewEvent,
    Position,
    StoredEvent,
    StreamVersion,
    WorkspaceId,
)
from events.keys import WrappedKey, WrappedSecret


class Reservation(Struct, frozen=True, kw_only=True):
    """An external_id and the customer that holds it, or is to hold it."""

    external_id: str
    stream_id: CustomerId


class NewReceipt(Struct, frozen=True, kw_only=True):
    """What an Idempotency-Key leads to; written with the events, or alone when nothing changed."""

    key_hmac: bytes
    payload_hmac: bytes
    outcome: bytes
    """JSON: ids, versions and statuses, nothing of a person."""


class Group(Struct, frozen=True, kw_only=True):
    """One command: in the log whole, or not at all."""

    workspace_id: WorkspaceId
    command_id: UUID
    events: tuple[NewEvent, ...] = ()
    data_keys: tuple[WrappedKey, ...] = ()
    frees: tuple[Reservation, ...] = ()
    takes: tuple[Reservation, ...] = ()
    receipt: NewReceipt | None = None


class Appended(Struct, frozen=True, kw_only=True):
    """The group is in the log, now or since an earlier sending of it."""

    generation: int
    first_position: Position | None
    """None for a group without events."""
    recorded_at: datetime
    chain: bytes
    """The chain after the group's last event."""


class VersionConflict(Struct, frozen=True, kw_only=True):
    """A customer of the group has moved on since it was read."""

    stream_id: CustomerId


class ExternalIdHeld(Struct, frozen=True, kw_only=True):
    """Another live customer of the workspace holds an external_id the group takes."""

    external_id: str
    holder: CustomerId


class Replayed(Struct, frozen=True, kw_only=True):
    """The Idempotency-Key was used before; nothing was written now."""

    command_id: UUID
    payload_hmac: bytes
    outcome: Raw
    recorded_at: datetime


class GroupRefused(Struct, frozen=True, kw_only=True):
    """The database refused the group's very values; its neighbours were appended."""

    sqlstate: str


Outcome: TypeAlias = Appended | VersionConflict | ExternalIdHeld | Replayed | GroupRefused


class StreamEvent(Struct, frozen=True, kw_only=True):
    """An event of one customer with what it takes to load it: a payload holds the whole state.

    A key that is missing without an erasure is corruption, never taken for an erasure.
    """

    generation: int
    """The log's generation now."""
    position: Position
    chain: bytes
    stream_id: CustomerId
    stream_version: StreamVersion
    type: str
    schema_version: int
    payload: bytes
    recorded_at: datetime
    created_at: datetime
    """When the customer's first event was recorded."""
    erased: bool
    """Whether the customer was erased, by this event or since."""
    wrapped_key: WrappedKey | None


class KeyedEvent(Struct, frozen=True, kw_only=True):
    """A stored event with the key that opens it, and whether its customer was erased since.

    A key that is missing without an erasure is corruption, never taken for an erasure.
    """

    stored: StoredEvent
    wrapped_key: WrappedKey | None
    erased: bool


class Head(Struct, frozen=True, kw_only=True):
    """The end of a log; position 0 and the genesis chain when it is empty."""

    generation: int
    position: Position
    chain: bytes


class AppendLog(Protocol):
    """The log as the command side needs it."""

    @property
    def log_id(self) -> int:
        """Which log this is."""
        ...

    async def append(self, groups: list[Group]) -> list[Outcome]:
        """Append groups in order; one outcome for each. Raises LogUnavailable."""
        ...

    async def read_newest(
        self, workspace_id: WorkspaceId, stream_ids: list[CustomerId]
    ) -> dict[CustomerId, StreamEvent]:
        """The newest event of each of these customers that exists in this workspace."""
        ...

    async def read_at_version(
        self, workspace_id: WorkspaceId, stream_id: CustomerId, version: StreamVersion
    ) -> StreamEvent | None:
        """This event of a customer; None when this workspace has none such."""
        ...

    async def are_newest(
        self, workspace_id: WorkspaceId, versions: Mapping[CustomerId, StreamVersion]
    ) -> bool:
        """Whether these are the newest versions, and as safe as one that was just appended.

        Asked before it is acknowledged that nothing had to be appended.
        """
        ...

    async def find_reservations(
        self, workspace_id: WorkspaceId, external_ids: list[str]
    ) -> dict[str, CustomerId]:
        """The customers that hold these external_ids."""
        ...

    async def read_receipt(self, workspace_id: WorkspaceId, key_hmac: bytes) -> Replayed | None:
        """What this Idempotency-Key led to, if it was used."""
        ...

    async def keep_secret(self, secret: WrappedSecret) -> WrappedSecret:
        """Keep a secret of the log unless it has one of this name; the one that is kept."""
        ...

    async def prune_receipts(self, days: int) -> int:
        """Forget receipts older than so many days, never one of the last 24 hours; how many.

        Some thousand at most, and none while somebody else is at it.
        """
        ...
