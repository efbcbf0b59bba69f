"""What happened to a customer: opened, told field by field, with the names of who did it.

Read from the log itself: every write that has answered is there.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Final
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.append import KeyedEvent
from events.customer import CustomerErased
from events.envelope import CustomerId, Metadata, StreamVersion, WorkspaceId
from events.history import HistoryLog, HistoryPage
from events.keys import Keyring
from events.reading import recorded
from query_side.access_log import AccessLog
from query_side.changes import CSV_COLUMNS, HistoryEntry, changes_of, csv_lines
from runtime.api_keys import Principal, name_keys
from runtime.clock import format_time
from runtime.csv_cells import csv_line
from runtime.postgres import Pool, ask

PAGE_BYTES: Final = 4 * 1024 * 1024
"""About so many bytes of events make a page, however many were asked for."""
_CSV_PAGE: Final = 500
_CSV_BYTES: Final = 1024 * 1024
_BEGINNING: Final = StreamVersion(0)

log = structlog.get_logger()


class HistoryShown(Struct, frozen=True, kw_only=True):
    """A page of a customer's history, and the version that the customer has come to."""

    entries: Sequence[HistoryEntry]
    newest: StreamVersion


class History:
    """Answers what happened to the customers of a workspace; to nobody of another one.

    Raises AccessNotRecorded; CorruptEvent and KeyUnavailable for an event that cannot be opened,
    for none is left out.
    """

    def __init__(
        self, history_log: HistoryLog, keyring: Keyring, pool: Pool, accesses: AccessLog
    ) -> None:
        self._log = history_log
        self._keyring = keyring
        self._pool = pool
        self._accesses = accesses

    async def exists(self, workspace_id: WorkspaceId, customer_id: CustomerId) -> bool:
        """Whether anything ever happened to a customer of the workspace, whatever it is now."""
        page = await self._log.read_page(workspace_id, customer_id, _BEGINNING, limit=1, size=1)
        return page is not None

    async def read(
        self, principal: Principal, customer_id: CustomerId, after: StreamVersion, limit: int
    ) -> HistoryShown | None:
        """What happened to a customer behind a version; None when the workspace has none such."""
        workspace_id = WorkspaceId(principal.workspace_id)
        page = await self._log.read_page(
            workspace_id, customer_id, after, limit=limit, size=PAGE_BYTES
        )
        if page is None:
            return None
        await self._accesses.record(principal, "history", customer_id)
        return HistoryShown(entries=await self._tell(workspace_id, page), newest=page.newest)

    async def read_csv(
        self, principal: Principal, customer_id: CustomerId
    ) -> AsyncGenerator[bytes] | None:
        """The whole history, piece by piece; None when the workspace has no such customer."""
        workspace_id = WorkspaceId(principal.workspace_id)
        page = await self._read_for_csv(workspace_id, customer_id, _BEGINNING)
        if page is None:
            return None
        await self._accesses.record(principal, "history", customer_id)
        return self._csv(workspace_id, customer_id, page)

    async def _csv(
        self, workspace_id: WorkspaceId, customer_id: CustomerId, page: HistoryPage | None
    ) -> AsyncGenerator[bytes]:
        yield csv_line(CSV_COLUMNS)
        try:
            while page is not None and page.events:
                entries = await self._tell(workspace_id, page)
                yield b"".join(line for entry in entries for line in csv_lines(entry))
                last = page.events[-1].stored.stream_version
                page = await self._read_for_csv(workspace_id, customer_id, last)
        except Exception:
            # The answer has begun, and ends without its end: whoever reads it notices.
            log.exception("history.broken_off")
            raise

    async def _read_for_csv(
        self, workspace_id: WorkspaceId, customer_id: CustomerId, after: StreamVersion
    ) -> HistoryPage | None:
        return await self._log.read_page(
            workspace_id, customer_id, after, limit=_CSV_PAGE, size=_CSV_BYTES
        )

    async def _tell(self, workspace_id: WorkspaceId, page: HistoryPage) -> list[HistoryEntry]:
        by = [api_key_of(keyed) for keyed in page.events]
        names = await self._names(workspace_id, {key_id for key_id in by if key_id is not None})
        return [
            self._entry(keyed, key_id, None if key_id is None else names.get(key_id), page.erased)
            for keyed, key_id in zip(page.events, by, strict=True)
        ]

    def _entry(
        self, keyed: KeyedEvent, key_id: UUID | None, key_name: str | None, is_erased: bool
    ) -> HistoryEntry:
        stored = keyed.stored
        # From the erasure on, though the key may be there a moment longer.
        event = None if is_erased else recorded(self._keyring, keyed).event
        if isinstance(event, CustomerErased):
            event = None
        return HistoryEntry(
            type=stored.type,
            version=stored.stream_version,
            sequence=stored.workspace_sequence,
            time=format_time(stored.recorded_at),
            event_id=stored.event_id,
            api_key_id=key_id,
            api_key_name=key_name,
            actor=None if event is None else event.actor,
            reason=None if event is None else event.reason,
            request_id=None if event is None else event.request_id,
            changes=None if event is None else changes_of(event),
        )

    async def _names(self, workspace_id: WorkspaceId, key_ids: set[UUID]) -> dict[UUID, str]:
        if not key_ids:
            return {}

        async def name(connection: AsyncConnection[TupleRow]) -> dict[UUID, str]:
            return await name_keys(connection, workspace_id, key_ids)

        return await ask(self._pool, name)


def api_key_of(keyed: KeyedEvent) -> UUID | None:
    """The API key with which an event was written, if it was one."""
    key_id = msgspec.json.decode(keyed.stored.metadata, type=Metadata).api_key_id
    return None if key_id is None else UUID(key_id)
