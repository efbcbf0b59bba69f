"""What a client may want: the commands, before anything is decided."""

from typing import TypeAlias

from msgspec import UNSET, Raw, Struct, UnsetType

from events.customer import Channel
from events.envelope import WorkspaceId
from runtime.field_error import FieldError


class CustomerChanges(Struct, frozen=True, kw_only=True):
    """The fields a request sends. UNSET: not sent, stays as it is. None: cleared."""

    email: str | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET
    first_name: str | UnsetType | None = UNSET
    last_name: str | UnsetType | None = UNSET
    company_name: str | UnsetType | None = UNSET
    external_id: str | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType | None = UNSET
    """Replaced as a whole."""
    custom_fields: dict[str, Raw] | UnsetType | None = UNSET
    """Merged by key; a JSON null removes the key."""
    communication_preferences: dict[Channel, bool | None] | UnsetType | None = UNSET
    """Merged by key; None removes the key."""


class Origin(Struct, frozen=True, kw_only=True):
    """Who sent a command, why, and as part of which request."""

    workspace_id: WorkspaceId
    api_key_id: str | None = None
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None
    traceparent: str | None = None


class CreateCustomer(Struct, frozen=True, kw_only=True):
    """Make a customer."""

    changes: CustomerChanges


class UpdateCustomer(Struct, frozen=True, kw_only=True):
    """Change some fields of a live customer."""

    changes: CustomerChanges


class DeleteCustomer(Struct, frozen=True, kw_only=True):
    """Take a customer out of every answer; its history stays."""


class RestoreCustomer(Struct, frozen=True, kw_only=True):
    """Bring a deleted customer back, as it was."""


Command: TypeAlias = CreateCustomer | UpdateCustomer | DeleteCustomer | RestoreCustomer


class BulkRow(Struct, frozen=True, kw_only=True):
    """One row of a bulk call; its external_id decides whom it is about."""

    index: int
    pointer: str
    """Where the row stands in the request's body."""
    external_id: str | None
    changes: CustomerChanges = CustomerChanges()
    if_version: int | None = None
    """The version that its customer must have."""
    errors: tuple[FieldError, ...] = ()
    """What is wrong with its fields: it will fail, with all that is wrong beside."""
    readable: bool = True
    """Whether it says whom it is about; else `errors` are all there is to say of it."""


class BulkUpsert(Struct, frozen=True, kw_only=True):
    """Create or update many customers by external_id, decided in the order of the rows."""

    rows: tuple[BulkRow, ...]
    atomic: bool = False
    """Whether one failed row lets nothing be written."""
    dry_run: bool = False
    """Whether nothing is written in any case."""
    is_strict: bool = False
    """Whether the rows were read strictly: unknown members are among their errors then."""
