"""Logs without a database: events with the digests and chains that the log would give them."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from events import codec
from events.append import KeyedEvent
from events.chain import GENESIS, event_digest, next_chain
from events.customer import CustomerData
from events.envelope import CustomerId, Position, StoredEvent, StreamVersion, WorkspaceId
from runtime.ids import new_id
from tests.support.builders import ACME, JANE, created

_THEN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def a_history(
    log_id: int,
    events: int,
    *,
    behind: Sequence[KeyedEvent] = (),
    workspaces: Sequence[WorkspaceId] = (ACME,),
    data: CustomerData = JANE,
) -> list[KeyedEvent]:
    """So many events behind the given ones, which come first; the workspaces take turns."""
    history = list(behind)
    counts = Counter(keyed.stored.workspace_id for keyed in history)
    payload = codec.encode(created(data))
    for position in range(len(history) + 1, len(history) + events + 1):
        workspace_id = workspaces[position % len(workspaces)]
        counts[workspace_id] += 1
        stored = StoredEvent(
            log_id=log_id,
            position=Position(position),
            workspace_id=workspace_id,
            workspace_sequence=counts[workspace_id],
            stream_id=CustomerId(new_id()),
            stream_version=StreamVersion(1),
            event_id=new_id(),
            command_id=new_id(),
            type="CustomerCreated",
            schema_version=1,
            data_key_id=None,
            payload=payload,
            metadata=b"{}",
            recorded_at=_THEN,
            digest=b"",
            chain=b"",
        )
        history.append(chained(history, stored))
    return history


def chained(history: Sequence[KeyedEvent], stored: StoredEvent) -> KeyedEvent:
    """An event with the digest and the chain that it has behind others."""
    chain = history[-1].stored.chain if history else GENESIS
    digest = event_digest(stored)
    stored = replace(stored, digest=digest, chain=next_chain(chain, digest))
    return KeyedEvent(stored=stored, wrapped_key=None, erased=False)


def of_workspace(history: Sequence[KeyedEvent], workspace_id: WorkspaceId) -> list[KeyedEvent]:
    """The events of one workspace."""
    return [keyed for keyed in history if keyed.stored.workspace_id == workspace_id]
