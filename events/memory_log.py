"""The log in memory: the same contract as on Postgres, for tests and for reading how it works."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from events.append import (
    Appended,
    ExternalIdHeld,
    Group,
    Head,
    KeyedEvent,
    Outcome,
    Replayed,
    StreamEvent,
    VersionConflict,
)
from events.chain import GENESIS, event_digest, next_chain
from events.envelope import CustomerId, NewEvent, Position, StoredEvent, StreamVersion, WorkspaceId
from events.keys import WrappedKey, WrappedSecret

_GENERATION: Final = 1


class MemoryLog:
    """Appends and reads one log; nothing survives the process."""

    def __init__(self, log_id: int = 1) -> None:
        self._log_id = log_id
        self._events: list[StoredEvent] = []
        self._keys: dict[CustomerId, WrappedKey] = {}
        self._holders: dict[tuple[WorkspaceId, str], CustomerId] = {}
        self._receipts: dict[tuple[WorkspaceId, bytes], Replayed] = {}
        self._secrets: dict[str, WrappedSecret] = {}

    @property
    def log_id(self) -> int:
        """Which log this is."""
        return self._log_id

    async def append(self, groups: list[Group]) -> list[Outcome]:
        """Append groups in order; one outcome for each."""
        now = datetime.now(UTC)
        if self._events:
            now = max(now, self._events[-1].recorded_at)
        return [self._append_group(group, now) for group in groups]

    def _append_group(self, group: Group, now: datetime) -> Outcome:
        refused = self._refusal(group)
        if refused is not None:
            return refused
        first = self._tip().position + 1
        for key in group.data_keys:
            self._keys[key.stream_id] = key
        for free in group.frees:
            self._holders.pop((group.workspace_id, free.external_id), None)
        for take in group.takes:
            self._holders[group.workspace_id, take.external_id] = take.stream_id
        for event in group.events:
            self._record(group, event, now)
        if group.receipt is not None:
            self._receipts[group.workspace_id, group.receipt.key_hmac] = Replayed(
                command_id=group.command_id,
                payload_hmac=group.receipt.payload_hmac,
                outcome=msgspec.Raw(group.receipt.outcome),
                recorded_at=now,
            )
        return Appended(
            generation=_GENERATION,
            first_position=Position(first) if group.events else None,
            recorded_at=now,
            chain=self._tip().chain,
        )

    def _refusal(self, group: Group) -> Outcome | None:
        """What stands in the way of a group, or what an earlier sending of it led to."""
        event_ids = {event.event_id for event in group.events}
        earlier = [event for event in self._events if event.event_id in event_ids]
        if earlier:
            return Appended(
                generation=_GENERATION,
                first_position=earlier[0].position,
                recorded_at=earlier[0].recorded_at,
                chain=earlier[-1].chain,
            )
        if group.receipt is not None:
            receipt = self._receipts.get((group.workspace_id, group.receipt.key_hmac))
            if receipt is not None and receipt.command_id != group.command_id:
                return receipt
            if receipt is not None:
                return Appended(
                    generation=_GENERATION,
                    first_position=None,
                    recorded_at=receipt.recorded_at,
                    chain=self._tip().chain,
                )
        return self._version_conflict(group) or self._external_id_held(group)

    def _version_conflict(self, group: Group) -> VersionConflict | None:
        versions: dict[CustomerId, int] = {}
        for event in group.events:
            known = versions.get(event.stream_id)
            if known is None:
                stream = self._stream(event.stream_id)
                known = stream[-1].stream_version if stream else 0
                if stream and stream[-1].workspace_id != group.workspace_id:
                    return VersionConflict(stream_id=event.stream_id)
            if event.stream_version != known + 1:
                return VersionConflict(stream_id=event.stream_id)
            versions[event.stream_id] = event.stream_version
        return None

    def _external_id_held(self, group: Group) -> ExternalIdHeld | None:
        freed = {(free.external_id, free.stream_id) for free in group.frees}
        for take in group.takes:
            holder = self._holders.get((group.workspace_id, take.external_id))
            if holder is not None and (take.external_id, holder) not in freed:
                return ExternalIdHeld(external_id=take.external_id, holder=holder)
        return None

    def _record(self, group: Group, event: NewEvent, now: datetime) -> None:
        sequence = sum(e.workspace_id == group.workspace_id for e in self._events) + 1
        stored = StoredEvent(
            log_id=self._log_id,
            position=Position(len(self._events) + 1),
            workspace_id=group.workspace_id,
            workspace_sequence=sequence,
            command_id=group.command_id,
            recorded_at=now,
            digest=b"",
            chain=b"",
            **msgspec.structs.asdict(event),
        )
        digest = event_digest(stored)
        chain = next_chain(self._tip().chain, digest)
        self._events.append(msgspec.structs.replace(stored, digest=digest, chain=chain))

    async def read_newest(
        self, workspace_id: WorkspaceId, stream_ids: list[CustomerId]
    ) -> dict[CustomerId, StreamEvent]:
        """The newest event of each of these customers that exists in this workspace."""
        return {
            event.stream_id: self._stream_event(event)
            for event in self._events
            if event.stream_id in stream_ids and event.workspace_id == workspace_id
        }

    async def read_at_version(
        self, workspace_id: WorkspaceId, stream_id: CustomerId, version: StreamVersion
    ) -> StreamEvent | None:
        """This event of a customer; None when this workspace has none such."""
        for event in self._stream(stream_id):
            if event.stream_version == version and event.workspace_id == workspace_id:
                return self._stream_event(event)
        return None

    async def are_newest(
        self, workspace_id: WorkspaceId, versions: Mapping[CustomerId, StreamVersion]
    ) -> bool:
        """Whether these are the newest versions, and as safe as one that was just appended."""
        found = await self.read_newest(workspace_id, list(versions))
        return {one: event.stream_version for one, event in found.items()} == versions

    def _stream(self, stream_id: CustomerId) -> list[StoredEvent]:
        return [event for event in self._events if event.stream_id == stream_id]

    def _stream_event(self, event: StoredEvent) -> StreamEvent:
        stream = self._stream(event.stream_id)
        return StreamEvent(
            generation=_GENERATION,
            position=event.position,
            chain=event.chain,
            stream_id=event.stream_id,
            stream_version=event.stream_version,
            type=event.type,
            schema_version=event.schema_version,
            payload=event.payload,
            recorded_at=event.recorded_at,
            created_at=stream[0].recorded_at,
            erased=stream[-1].type == "CustomerErased",
            wrapped_key=None if event.data_key_id is None else self._keys.get(event.stream_id),
        )

    async def find_reservations(
        self, workspace_id: WorkspaceId, external_ids: list[str]
    ) -> dict[str, CustomerId]:
        """The customers that hold these external_ids."""
        return {
            external_id: self._holders[workspace_id, external_id]
            for external_id in external_ids
            if (workspace_id, external_id) in self._holders
        }

    async def read_receipt(self, workspace_id: WorkspaceId, key_hmac: bytes) -> Replayed | None:
        """What this Idempotency-Key led to, if it was used."""
        return self._receipts.get((workspace_id, key_hmac))

    async def keep_secret(self, secret: WrappedSecret) -> WrappedSecret:
        """Keep a secret of the log unless it has one of this name; the one that is kept."""
        return self._secrets.setdefault(secret.name, secret)

    async def prune_receipts(self, days: int) -> int:
        """Forget receipts older than so many days, never one of the last 24 hours; how many."""
        oldest = datetime.now(UTC) - timedelta(days=max(days, 1))
        old = [key for key, receipt in self._receipts.items() if receipt.recorded_at < oldest]
        for key in old:
            del self._receipts[key]
        return len(old)

    async def head(self) -> Head:
        """The end of the log."""
        return self._tip()

    async def read_after(self, position: Position, limit: int) -> list[KeyedEvent]:
        """Events behind a position, in order, at most `limit`."""
        return [
            KeyedEvent(
                stored=event,
                wrapped_key=self._keys.get(event.stream_id),
                erased=any(
                    e.type == "CustomerErased" and e.stream_id == event.stream_id
                    for e in self._events
                ),
            )
            for event in self._events[position : position + limit]
        ]

    def _tip(self) -> Head:
        if not self._events:
            return Head(generation=_GENERATION, position=Position(0), chain=GENESIS)
        last = self._events[-1]
        return Head(generation=_GENERATION, position=last.position, chain=last.chain)
