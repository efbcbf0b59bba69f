"""Everything that is known of one person, for the person's own request for access (GDPR, Art. 15).

One JSON object that explains itself, piece by piece: however long the history is, no more than a
page of it is at hand.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, LiteralString
from uuid import UUID

import msgspec
from msgspec import Raw, Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.append import KeyedEvent
from events.envelope import CustomerId, StreamVersion, WorkspaceId
from events.history import HistoryLog, PastCustomer
from events.keys import Keyring
from events.past_document import past_document
from events.reading import open_stored
from query_side.held import Held, places_of
from query_side.history import api_key_of
from runtime.api_keys import name_keys
from runtime.clock import format_time
from runtime.postgres import Pool, ask

_EVENTS: Final = 500
_EVENT_BYTES: Final = 1024 * 1024
_ACCESSES: Final = 1000
_BEGINNING: Final = StreamVersion(0)
_ACCESSES_ARE: Final = (
    "Who read this customer's history, earlier states or all of this, or erased it; without a key: "
    "an operator of the service. Reading the customer as it is now is not recorded."
)
_ACCESSES_TO_ALL_ARE: Final = (
    "How often all customers of the workspace were read at once since this one was created."
)
_EVENTS_ARE: Final = (
    "Everything that happened, oldest first, as it is stored: `customer` is all that was known "
    "afterwards, `previous` what changed fields were before; `actor`, `reason` and `request_id` "
    "are what the write said of itself."
)

# Accesses that named the customer, page by page.
_TO_CUSTOMER: Final[LiteralString] = (
    "SELECT * FROM control.accesses_to_customer(%b, %b::uuid, %b::int8, %b::int4)"
)

# Accesses to all of the workspace, counted.
_TO_ALL: Final[LiteralString] = "SELECT * FROM control.accesses_to_all(%b, %b::timestamptz)"


class Person(Struct, frozen=True, kw_only=True):
    """A customer of a workspace, live or deleted, in the version that was newest when asked."""

    workspace_id: WorkspaceId
    newest: PastCustomer
    document: bytes


class Erased(Struct, frozen=True):
    """There was such a customer; nothing is known any more."""


class AccessesToAll(Struct, frozen=True, kw_only=True):
    """How often one key, or operators, read all customers in one way."""

    action: str
    api_key_id: UUID | None
    api_key_name: str | None
    count: int
    first_at: str
    last_at: str


class AccessToPerson(Struct, frozen=True, kw_only=True):
    """One access that named the customer."""

    time: str
    action: str
    api_key_id: UUID | None
    api_key_name: str | None


class PersonalEvent(Struct, frozen=True, kw_only=True):
    """An event with all that is stored of it."""

    version: int
    sequence: int
    type: str
    schema_version: int
    time: str
    event_id: UUID
    command_id: UUID
    api_key_id: UUID | None
    api_key_name: str | None
    metadata: Raw
    data: Raw


class About(Struct, frozen=True, kw_only=True):
    """What stands in front of the accesses and the events."""

    made_at: str
    customer_id: UUID
    workspace: str
    status: Literal["live", "deleted"]
    version: int
    customer: Raw
    held_in: Sequence[Held]
    accesses_to_all_are: str = _ACCESSES_TO_ALL_ARE
    accesses_to_all: Sequence[AccessesToAll]
    accesses_are: str = _ACCESSES_ARE
    events_are: str = _EVENTS_ARE


class PersonalData:
    """Tells everything that is known of a customer; to nobody of another workspace.

    Raises CorruptEvent and KeyUnavailable for an event that cannot be opened: none is left out.
    """

    def __init__(self, history_log: HistoryLog, keyring: Keyring, pool: Pool) -> None:
        self._log = history_log
        self._keyring = keyring
        self._pool = pool

    async def find(
        self, workspace_id: WorkspaceId, customer_id: CustomerId
    ) -> Person | Erased | None:
        """The customer, also a deleted one; None when the workspace has none such."""
        page = await self._log.read_page(workspace_id, customer_id, _BEGINNING, limit=1, size=1)
        if page is None or page.erased:
            return None if page is None else Erased()
        found = await self._log.read_version(workspace_id, customer_id, page.newest)
        if found is None or found.erased or found.then is None:
            return None if found is None else Erased()
        document = past_document(self._keyring, found.then)
        return Person(workspace_id=workspace_id, newest=found.then, document=document)

    async def pieces(self, person: Person) -> AsyncGenerator[bytes]:
        """The JSON object; what is written from now on is not in it."""
        about = msgspec.json.encode(await self._about(person))
        yield about.removesuffix(b"}") + b',\n"accesses":['
        async for piece in self._accesses(person):
            yield piece
        yield b'],\n"events":['
        async for piece in self._events(person):
            yield piece
        yield b"]}"

    async def _about(self, person: Person) -> About:
        stored = person.newest.keyed.stored
        asked = [person.workspace_id, person.newest.created_at]
        rows = await self._fetch(_TO_ALL, asked)
        is_deleted = stored.type == "CustomerDeleted"
        return About(
            made_at=format_time(datetime.now(UTC)),
            customer_id=stored.stream_id,
            workspace=person.workspace_id,
            status="deleted" if is_deleted else "live",
            version=stored.stream_version,
            customer=Raw(person.document),
            held_in=places_of(stored, person.document, is_deleted=is_deleted),
            accesses_to_all=[_access_to_all(*row) for row in rows],
        )

    async def _accesses(self, person: Person) -> AsyncGenerator[bytes]:
        customer_id = person.newest.keyed.stored.stream_id
        after, comma = 0, b"\n"
        while rows := await self._fetch(
            _TO_CUSTOMER, [person.workspace_id, customer_id, after, _ACCESSES]
        ):
            after = rows[-1][0]
            yield comma + _joined(_access(*row) for row in rows)
            comma = b",\n"

    async def _events(self, person: Person) -> AsyncGenerator[bytes]:
        stored = person.newest.keyed.stored
        after, comma = _BEGINNING, b"\n"
        while after < stored.stream_version:
            page = await self._log.read_page(
                person.workspace_id, stored.stream_id, after, limit=_EVENTS, size=_EVENT_BYTES
            )
            assert page is not None, "nobody leaves a workspace"  # noqa: S101 - a type guard
            events = [
                event
                for event in page.events
                if event.stored.stream_version <= stored.stream_version
            ]
            names = await self._names(person.workspace_id, events)
            yield comma + _joined(self._event(event, names) for event in events)
            after, comma = events[-1].stored.stream_version, b",\n"

    def _event(self, keyed: KeyedEvent, names: dict[UUID, str]) -> PersonalEvent:
        stored, key_id = keyed.stored, api_key_of(keyed)
        # Nothing when the customer was erased while this was read.
        data = open_stored(self._keyring, keyed)
        return PersonalEvent(
            version=stored.stream_version,
            sequence=stored.workspace_sequence,
            type=stored.type,
            schema_version=stored.schema_version,
            time=format_time(stored.recorded_at),
            event_id=stored.event_id,
            command_id=stored.command_id,
            api_key_id=key_id,
            api_key_name=None if key_id is None else names.get(key_id),
            metadata=Raw(stored.metadata),
            data=Raw(b"null" if data is None else data),
        )

    async def _names(
        self, workspace_id: WorkspaceId, events: Iterable[KeyedEvent]
    ) -> dict[UUID, str]:
        key_ids = {key_id for keyed in events if (key_id := api_key_of(keyed)) is not None}
        if not key_ids:
            return {}
        return await ask(
            self._pool, lambda connection: name_keys(connection, workspace_id, key_ids)
        )

    async def _fetch(self, query: LiteralString, parameters: Sequence[object]) -> list[TupleRow]:
        async def fetch(connection: AsyncConnection[TupleRow]) -> list[TupleRow]:
            return await (await connection.execute(query, parameters)).fetchall()

        return await ask(self._pool, fetch)


def _joined(entries: Iterable[Struct]) -> bytes:
    return b",\n".join(map(msgspec.json.encode, entries))


def _access(
    _access_id: int, at: datetime, action: str, key_id: UUID | None, name: str | None
) -> AccessToPerson:
    return AccessToPerson(time=format_time(at), action=action, api_key_id=key_id, api_key_name=name)


def _access_to_all(
    action: str, key_id: UUID | None, name: str | None, count: int, first: datetime, last: datetime
) -> AccessesToAll:
    return AccessesToAll(
        action=action,
        api_key_id=key_id,
        api_key_name=name,
        count=count,
        first_at=format_time(first),
        last_at=format_time(last),
    )
