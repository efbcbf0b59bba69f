"""The one read model: what a batch of events makes of the customers it touches. Pure.

Every event holds the whole customer after it, so of each customer only the newest event counts.
"""

import traceback
from collections.abc import Iterable
from datetime import datetime
from typing import Final, TypeAlias

from msgspec import Struct

from events.customer import CustomerCreated, CustomerData, CustomerErased
from events.document import render_document
from events.envelope import CustomerId, Position, RecordedEvent, StreamVersion, WorkspaceId
from runtime.text import fold_case, search_text, sort_key, tag_key

# By name, so that a payload nobody can read is no reason to keep the row.
GONE: Final = frozenset(("CustomerDeleted", "CustomerErased"))


class UnreadableEvent(Struct, frozen=True, kw_only=True):
    """An event whose payload cannot be opened or decoded, though its customer was not erased."""

    position: Position
    workspace_id: WorkspaceId
    stream_id: CustomerId
    type: str
    chain: bytes
    reason: str
    stack: str


LogEvent: TypeAlias = RecordedEvent | UnreadableEvent


class CustomerRow(Struct, frozen=True, kw_only=True):
    """A customer as the read model keeps it."""

    workspace_id: WorkspaceId
    customer_id: CustomerId
    version: StreamVersion
    position: Position
    created_at: datetime | None
    """None: created before this batch; the document then shows updated_at in its place."""
    updated_at: datetime
    document: bytes
    search_text: str
    tag_keys: list[str]
    tag_spellings: list[str]
    external_id: str | None
    email_key: str | None
    phone: str | None
    email_sort_key: str | None
    last_name_key: str | None
    company_name_key: str | None


class CustomerGone(Struct, frozen=True, kw_only=True):
    """A customer that was deleted or erased; a row of the same batch means it was restored."""

    workspace_id: WorkspaceId
    customer_id: CustomerId


class ParkedCustomer(Struct, frozen=True, kw_only=True):
    """A customer whose events from `position` on are not in the read model, and why."""

    workspace_id: WorkspaceId
    customer_id: CustomerId
    position: Position
    reason: str
    stack: str


class Folded(Struct, frozen=True, kw_only=True):
    """What a batch comes to; a customer has at most one row."""

    rows: list[CustomerRow]
    gone: list[CustomerGone]
    parked: list[ParkedCustomer]


class _Story(Struct, kw_only=True):
    """What a batch tells of one customer."""

    first: LogEvent
    created_at: datetime | None = None
    gone: bool = False
    newest: RecordedEvent | None = None
    unreadable: UnreadableEvent | None = None


def fold_batch(events: Iterable[LogEvent]) -> Folded:
    """Fold events in the order of the log; a customer that cannot be folded is parked."""
    folded = Folded(rows=[], gone=[], parked=[])
    for story in _stories(events):
        first = story.first
        if story.gone:
            folded.gone.append(
                CustomerGone(workspace_id=first.workspace_id, customer_id=first.stream_id)
            )
        if story.unreadable is not None:
            unreadable = story.unreadable
            folded.parked.append(park(first, unreadable.reason, unreadable.stack))
        elif story.newest is not None:
            try:
                folded.rows.append(make_row(story.newest, story.created_at))
            except Exception as error:  # noqa: BLE001 - whatever it is, only this customer waits
                folded.parked.append(park(first, *explain(error)))
    return folded


def park(first: LogEvent, reason: str, stack: str) -> ParkedCustomer:
    """Park the customer of a batch's event, from that event on."""
    return ParkedCustomer(
        workspace_id=first.workspace_id,
        customer_id=first.stream_id,
        position=first.position,
        reason=reason,
        stack=stack,
    )


def explain(error: Exception) -> tuple[str, str]:
    """Reason and stack of a parked customer; the stack may quote the customer, the reason not."""
    state: object = getattr(error, "sqlstate", None)
    reason = f"{type(error).__name__} (SQLSTATE {state})" if state else type(error).__name__
    # Text in Postgres cannot hold NUL, and the culprit may well be one.
    stack = "".join(traceback.format_exception(error)).replace("\x00", "\\0")
    return reason, stack.encode(errors="backslashreplace").decode()


def _stories(events: Iterable[LogEvent]) -> Iterable[_Story]:
    stories: dict[CustomerId, _Story] = {}
    for event in events:
        story = stories.get(event.stream_id)
        if story is None:
            story = stories[event.stream_id] = _Story(first=event)
        if event.type in GONE:
            story.gone, story.newest, story.unreadable = True, None, None
        elif isinstance(event, UnreadableEvent):
            story.unreadable = story.unreadable or event
        elif event.event is not None:
            story.newest = event
            if isinstance(event.event, CustomerCreated):
                story.created_at = event.recorded_at
    return stories.values()


def make_row(recorded: RecordedEvent, created_at: datetime | None) -> CustomerRow:
    """The row of a customer whose newest event this is; raises whatever its data may raise."""
    event = recorded.event
    if event is None or isinstance(event, CustomerErased):
        raise TypeError(f"{recorded.type} holds no customer")
    data = event.customer
    keys = _tags(recorded.workspace_id, data)
    return CustomerRow(
        workspace_id=recorded.workspace_id,
        customer_id=recorded.stream_id,
        version=recorded.stream_version,
        position=recorded.position,
        created_at=created_at,
        updated_at=recorded.recorded_at,
        document=render_document(
            recorded.stream_id,
            recorded.stream_version,
            data,
            created_at=created_at or recorded.recorded_at,
            updated_at=recorded.recorded_at,
        ),
        search_text=search_text(
            phone=data.phone,
            first_name=data.first_name,
            last_name=data.last_name,
            company_name=data.company_name,
            email=data.email,
            external_id=data.external_id,
        ),
        tag_keys=list(keys),
        tag_spellings=list(keys.values()),
        external_id=data.external_id,
        email_key=None if data.email is None else fold_case(data.email),
        phone=data.phone,
        email_sort_key=sort_key(data.email),
        last_name_key=sort_key(data.last_name),
        company_name_key=sort_key(data.company_name),
    )


def _tags(workspace_id: WorkspaceId, data: CustomerData) -> dict[str, str]:
    keys: dict[str, str] = {}
    for tag in data.tags:
        keys.setdefault(tag_key(workspace_id, tag), tag)
    return keys
