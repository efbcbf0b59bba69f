"""How customers were, for operators: one at a moment, or all of a workspace at one position."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Literal, LiteralString, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Raw, Struct

from events.envelope import CustomerId, Position, StreamVersion, WorkspaceId
from events.errors import EventsError
from events.feed import FeedPlace
from events.history import VERSION_MAX, FoundInPast, HistoryLog, PastCustomer
from events.keys import Keyring
from events.log import LogReader
from events.past_document import past_document
from events.reading import open_stored
from events.walk import LogWalk, Wanted
from runtime.clock import format_time
from runtime.csv_cells import Format, csv_line
from runtime.customer_cells import COLUMNS, customer_cells
from runtime.failure import Failure
from runtime.operators.log import OpenedLog, read_gist
from runtime.postgres import Role, connect, make_pool
from runtime.settings import Settings, read_master_keys

Status: TypeAlias = Literal["live", "deleted", "erased", "not_created"]

_NAME: Final = "customers export"
_LAST: Final = ("created_at", "updated_at", "version")
_COLUMNS: Final = ("at_position", "id", *COLUMNS, *_LAST, "fault")
_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
# Of the largest customers there are, some 5 MB.
_PAGE: Final = 200
_LOOKS: Final = 2_000

# How many customers a workspace ever had when it had so many events.
_COUNT: Final[LiteralString] = """
SELECT count(*) FROM log.events e
 WHERE e.workspace_id = %b AND e.log_id = %b::int4 AND e.stream_version = 1
   AND e.workspace_sequence <= %b::int8
"""


class State(Struct, frozen=True, kw_only=True):
    """A customer as it was."""

    customer_id: UUID
    workspace: str
    status: Status
    since: str
    """When it became so; of one that was not created yet, when it was created."""
    version: int | None = None
    actor: str | None = None
    reason: str | None = None
    customer: Raw | None = None
    """Of a deleted customer, what restoring it would have brought back."""


class Place(Struct, frozen=True, kw_only=True):
    """Where the customers of a workspace are read."""

    position: Position
    sequence: int
    customers: int
    """How many it ever had by then."""


class ExportPage(Struct, frozen=True, kw_only=True):
    """Some customers as lines."""

    lines: bytes
    customers: int
    faults: list[tuple[Position, str]]
    """Events that cannot be read though nobody erased them, and why."""


class _Line(Struct, frozen=True, kw_only=True):
    at_position: int
    customer: Raw


class _Unreadable(Struct, frozen=True, kw_only=True):
    at_position: int
    customer_id: UUID
    fault: str


class PastOfLog:
    """The customers of a log as they were; that somebody asked is recorded first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = OpenedLog(settings)
        self._keyring = Keyring(read_master_keys(settings))

    async def state(self, customer_id: CustomerId, at: int | datetime) -> State:
        """A customer in a version or at a moment; refuses what there never was, or not yet."""
        wanted = await self._log.admit("state", Wanted(customer_id=customer_id))
        workspace_id = wanted.workspace_id
        assert workspace_id is not None, "every customer has one"  # noqa: S101 - a type guard
        async with self._history() as history:
            if isinstance(at, datetime):
                place = await history.find_moment(workspace_id, at)
                if place is None:
                    raise Failure(f"{format_time(at)} is still to come.", "an earlier --at")
                found = await history.read_at(workspace_id, customer_id, place)
            else:
                version = StreamVersion(min(at, VERSION_MAX))
                found = await history.read_version(workspace_id, customer_id, version)
            newest = await _newest(history, workspace_id, customer_id)
        if found is not None and (found.then is not None or isinstance(at, datetime)):
            return self._state(workspace_id, found, newest)
        version = newest.keyed.stored.stream_version
        raise Failure(f"The customer has only come to version {version}.", f"--at {version}")

    def _state(self, workspace_id: WorkspaceId, found: FoundInPast, newest: PastCustomer) -> State:
        customer_id = newest.keyed.stored.stream_id
        if found.then is None or found.erased:
            status, since = ("erased", newest.keyed.stored.recorded_at)
            if found.then is None:
                status, since = ("not_created", newest.created_at)
            return State(
                customer_id=customer_id,
                workspace=workspace_id,
                status=status,
                since=format_time(since),
            )
        stored = found.then.keyed.stored
        try:
            gist = read_gist(open_stored(self._keyring, found.then.keyed) or b"{}")
            document = past_document(self._keyring, found.then)
        except EventsError as error:
            raise Failure(
                f"The customer cannot be read: {error}", f"customers events show {stored.position}"
            ) from error
        return State(
            customer_id=customer_id,
            workspace=workspace_id,
            status="deleted" if stored.type == "CustomerDeleted" else "live",
            since=format_time(stored.recorded_at),
            version=stored.stream_version,
            actor=gist.actor,
            reason=gist.reason,
            customer=Raw(document),
        )

    async def export(
        self,
        workspace_id: WorkspaceId,
        at: Position | datetime | None,
        form: Format,
        *,
        begun: Callable[[Place], None],
    ) -> AsyncGenerator[ExportPage]:
        """All customers of a workspace as they were at a position, newest created first.

        Whatever is written meanwhile, they stand at one position, which `begun` is told.
        """
        await self._log.admit("export", Wanted(workspace_id=workspace_id))
        place = await self._find_place(workspace_id, at)
        begun(place)
        then = FeedPlace(sequence=place.sequence, chain=b"")
        before: int | None = None
        async with self._history() as history:
            while True:
                page = await history.list_at(workspace_id, then, before, limit=_PAGE, looks=_LOOKS)
                yield self._page(page.customers, place.position, form)
                before = page.next_before
                if before is None:
                    return

    async def _find_place(self, workspace_id: WorkspaceId, at: Position | datetime | None) -> Place:
        settings = self._settings
        position = await self._log.last_until(at) if isinstance(at, datetime) else at
        async with await connect(settings, Role.RELAY, _NAME) as connection:
            head = await LogReader(connection, settings.log_id).head()
            if position is None:
                position = head.position
            if position > head.position:
                raise Failure(f"The log ends at position {head.position}.", "an earlier --at")
            walk = LogWalk(settings.log_id, Wanted(workspace_id=workspace_id))
            sequence = await walk.end_at(connection, position)
            cursor = await connection.execute(_COUNT, [workspace_id, settings.log_id, sequence])
            row = await cursor.fetchone()
        customers = 0 if row is None else int(row[0])
        return Place(position=position, sequence=sequence, customers=customers)

    def _page(
        self, customers: Sequence[PastCustomer], position: Position, form: Format
    ) -> ExportPage:
        lines: list[bytes] = []
        faults: list[tuple[Position, str]] = []
        for past in customers:
            try:
                document = past_document(self._keyring, past)
            except EventsError as error:
                stored, fault = past.keyed.stored, str(error)
                faults.append((stored.position, fault))
                lines.append(_fault_line(position, stored.stream_id, fault, form))
            else:
                lines.append(_line(position, document, form))
        return ExportPage(lines=b"".join(lines), customers=len(customers), faults=faults)

    @asynccontextmanager
    async def _history(self) -> AsyncGenerator[HistoryLog]:
        async with make_pool(self._settings, Role.RELAY, _NAME, size=1) as pool:
            yield HistoryLog(pool, self._settings.log_id)


def export_header(form: Format) -> bytes:
    """What stands in front of the first customer."""
    return csv_line(_COLUMNS) if form == "csv" else b""


async def _newest(
    history: HistoryLog, workspace_id: WorkspaceId, customer_id: CustomerId
) -> PastCustomer:
    page = await history.read_page(workspace_id, customer_id, StreamVersion(0), limit=1, size=1)
    assert page is not None, "it has events"  # noqa: S101 - a type guard
    found = await history.read_version(workspace_id, customer_id, page.newest)
    assert found is not None, "it has events"  # noqa: S101 - a type guard
    assert found.then is not None, "it has come so far"  # noqa: S101 - a type guard
    return found.then


def _line(position: Position, document: bytes, form: Format) -> bytes:
    if form == "ndjson":
        line = _Line(at_position=position, customer=Raw(document))
        return msgspec.json.encode(line) + b"\n"
    members = _members(document)
    last = [msgspec.json.decode(members[name]) for name in _LAST]
    return csv_line(
        [position, msgspec.json.decode(members["id"]), *customer_cells(members), *last, None]
    )


def _fault_line(position: Position, customer_id: UUID, fault: str, form: Format) -> bytes:
    if form == "ndjson":
        line = _Unreadable(at_position=position, customer_id=customer_id, fault=fault)
        return msgspec.json.encode(line) + b"\n"
    return csv_line(
        [position, str(customer_id), *customer_cells({}), *(None for _ in _LAST), fault]
    )
