"""The log on Postgres: one call appends a batch, the rest are reads by index."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, args_row

from events.append import (
    Group,
    GroupRefused,
    Head,
    KeyedEvent,
    Outcome,
    Replayed,
    StreamEvent,
)
from events.append_call import APPEND, outcome_of, parameters_of
from events.chain import GENESIS
from events.envelope import CustomerId, Position, StoredEvent, StreamVersion, WorkspaceId
from events.errors import LogUnavailable
from events.gathering import Gathering
from events.keys import WrappedKey, WrappedSecret
from runtime.postgres import ANSWER_SECONDS, Pool, ask, await_copies

LOOK_UP_SECONDS: Final = 5.0
"""A look-up takes milliseconds, and others wait for it: a connection is soon held for silent."""

# The newest event of each customer, of this workspace only.
_READ_NEWEST: Final[LiteralString] = "SELECT * FROM log.read_newest(%b, %b::uuid[])"

# The same of their versions alone.
_READ_VERSIONS: Final[LiteralString] = (
    "SELECT stream_id, stream_version FROM log.read_newest(%b, %b::uuid[])"
)

# One event of a customer, of this workspace only.
_READ_AT_VERSION: Final[LiteralString] = "SELECT * FROM log.read_at_version(%b, %b::uuid, %b::int4)"

# Holders of external_ids, of this workspace only.
_FIND_RESERVATIONS: Final[LiteralString] = (
    "SELECT external_id, stream_id FROM log.find_reservations(%b, %b::int4, %b::text[])"
)

# One receipt, of this workspace only.
_READ_RECEIPT: Final[LiteralString] = """
SELECT command_id, payload_hmac, result::text, recorded_at
  FROM log.read_receipt(%b, %b::int4, %b)
"""

# A secret of the log: the one that is there already, else this one from now on.
_KEEP: Final[LiteralString] = (
    "SELECT master_key_id, wrapped FROM log.keep_secret(%b::int4, %b, %b, %b)"
)

# Some thousand of the receipts that are too old.
_PRUNE_RECEIPTS: Final[LiteralString] = "SELECT log.prune_receipts(%b::int4, %b::int4)"

# Keys are looked up one by one: a plan made while the log was empty must not join all of them.
SELECT_KEYED: Final[LiteralString] = """
SELECT e.log_id, e.position, e.workspace_id, e.workspace_sequence, e.stream_id, e.stream_version,
       e.event_id, e.command_id, e.type, e.schema_version, e.data_key_id, e.payload, e.metadata,
       e.recorded_at, e.digest, e.chain,
       k.wrapped IS NULL AND EXISTS (
            SELECT FROM log.events x WHERE x.stream_id = e.stream_id AND x.type = 'CustomerErased'),
       k.master_key_id, k.wrapped
  FROM log.events e
  LEFT JOIN LATERAL (SELECT master_key_id, wrapped FROM keyring.data_keys d
                      WHERE d.data_key_id = e.data_key_id LIMIT 1) k ON true
"""
"""Stored events `e` with what opens them, for rows made by `keyed_event`; a WHERE follows."""

# Positions are dense and in commit order, so a range read never misses one that comes later.
_READ_AFTER: Final[LiteralString] = (
    SELECT_KEYED
    + """
 WHERE e.log_id = %b::int4 AND e.position > %b::int8
 ORDER BY e.position
 LIMIT %b::int4
"""
)

# The tip of the log by its primary key.
_HEAD: Final[LiteralString] = """
SELECT log.current_generation(%b::int4), e.position, e.chain
  FROM (VALUES (1)) one (row)
  LEFT JOIN LATERAL (SELECT position, chain FROM log.events WHERE log_id = %b::int4
                      ORDER BY position DESC LIMIT 1) e ON true
"""


class PostgresLog:
    """The log as an API process has it: it appends, and reads only one workspace at a time.

    With a pool of its own for appends, none of them waits for a look-up. A connection that does
    not answer an append within `answer_seconds` is given up.
    """

    def __init__(
        self,
        pool: Pool,
        log_id: int,
        *,
        append_pool: Pool | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._pool = pool
        self._append_pool = append_pool or pool
        self._answer_seconds = answer_seconds
        self._log_id = log_id
        self._newest = Gathering(self._read_newest)
        self._reservations = Gathering(self._find_reservations)

    @property
    def log_id(self) -> int:
        """Which log this is."""
        return self._log_id

    async def append(self, groups: list[Group]) -> list[Outcome]:
        """Append groups in order; one outcome for each.

        A lost connection is followed by one more sending of the same groups: what the first one
        wrote is recognised by its event ids. Values the database refuses (SQLSTATE class 22 or
        23) fail their own group alone. Raises LogUnavailable.
        """
        try:
            return await self._append(groups)
        except psycopg.OperationalError as error:
            raise LogUnavailable("The database does not answer.") from error

    async def _append(self, groups: list[Group]) -> list[Outcome]:
        sendings = 0

        async def append(connection: AsyncConnection[TupleRow]) -> list[TupleRow]:
            nonlocal sendings
            sendings += 1
            cursor = await connection.execute(APPEND, parameters_of(self._log_id, groups))
            rows = await cursor.fetchall()
            if sendings > 1 or any(row[0] == "replayed" for row in rows):
                # This call may have committed nothing, and what it found be on one server alone.
                await await_copies(connection)
            return rows

        try:
            rows = await ask(self._append_pool, append, seconds=self._answer_seconds)
            return [outcome_of(row) for row in rows]
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(groups) == 1:
                return [GroupRefused(sqlstate=error.sqlstate or "")]
            middle = len(groups) // 2
            return await self._append(groups[:middle]) + await self._append(groups[middle:])

    async def read_newest(
        self, workspace_id: WorkspaceId, stream_ids: list[CustomerId]
    ) -> dict[CustomerId, StreamEvent]:
        """The newest event of each of these customers that exists in this workspace."""
        return await self._newest.find(workspace_id, stream_ids)

    async def _read_newest(
        self, workspace_id: WorkspaceId, stream_ids: list[CustomerId]
    ) -> dict[CustomerId, StreamEvent]:
        events = await self._read_events(_READ_NEWEST, [workspace_id, stream_ids])
        return {event.stream_id: event for event in events}

    async def read_at_version(
        self, workspace_id: WorkspaceId, stream_id: CustomerId, version: StreamVersion
    ) -> StreamEvent | None:
        """This event of a customer; None when this workspace has none such."""
        events = await self._read_events(_READ_AT_VERSION, [workspace_id, stream_id, version])
        return events[0] if events else None

    async def are_newest(
        self, workspace_id: WorkspaceId, versions: Mapping[CustomerId, StreamVersion]
    ) -> bool:
        """Whether these are the newest versions, and as safe as one that was just appended.

        Without a standby that commits wait for, whoever read them knew as much.
        """

        async def look(connection: AsyncConnection[TupleRow]) -> bool:
            if not await await_copies(connection):
                return True
            # Of this very server: they may have been read of the primary of before.
            asked = [workspace_id, list(versions)]
            rows = await (await connection.execute(_READ_VERSIONS, asked)).fetchall()
            return dict(rows) == versions

        return await ask(self._pool, look, seconds=LOOK_UP_SECONDS)

    async def _read_events(
        self, query: LiteralString, parameters: Sequence[object]
    ) -> list[StreamEvent]:
        async def read(connection: AsyncConnection[TupleRow]) -> list[StreamEvent]:
            cursor = connection.cursor(row_factory=args_row(_stream_event))
            await cursor.execute(query, parameters, binary=True)
            return await cursor.fetchall()

        return await ask(self._pool, read, seconds=LOOK_UP_SECONDS)

    async def find_reservations(
        self, workspace_id: WorkspaceId, external_ids: list[str]
    ) -> dict[str, CustomerId]:
        """The customers that hold these external_ids."""
        return await self._reservations.find(workspace_id, external_ids)

    async def _find_reservations(
        self, workspace_id: WorkspaceId, external_ids: list[str]
    ) -> dict[str, CustomerId]:
        rows = await self._read(_FIND_RESERVATIONS, [workspace_id, self._log_id, external_ids])
        return {str(name): CustomerId(holder) for name, holder in rows}

    async def read_receipt(self, workspace_id: WorkspaceId, key_hmac: bytes) -> Replayed | None:
        """What this Idempotency-Key led to, if it was used."""
        # It is about to be acknowledged, perhaps for the first time.
        asked = [workspace_id, self._log_id, key_hmac]
        rows = await self._read(_READ_RECEIPT, asked, copied=True)
        if not rows:
            return None
        command_id, payload_hmac, outcome, recorded_at = rows[0]
        return Replayed(
            command_id=command_id,
            payload_hmac=bytes(payload_hmac),
            outcome=msgspec.Raw(outcome.encode()),
            recorded_at=recorded_at,
        )

    async def keep_secret(self, secret: WrappedSecret) -> WrappedSecret:
        """Keep a secret of the log unless it has one of this name; the one that is kept."""
        row = [self._log_id, secret.name, secret.master_key_id, secret.wrapped]
        [(master_key_id, wrapped)] = await self._read(_KEEP, row)
        return WrappedSecret(name=secret.name, master_key_id=master_key_id, wrapped=bytes(wrapped))

    async def prune_receipts(self, days: int) -> int:
        """Forget receipts older than so many days, never one of the last 24 hours; how many.

        Some thousand at most, and none while somebody else is at it.
        """
        asked = [self._log_id, days]
        [(pruned,)] = await self._read(_PRUNE_RECEIPTS, asked, seconds=ANSWER_SECONDS)
        return pruned

    async def _read(
        self,
        query: LiteralString,
        parameters: Sequence[object],
        *,
        seconds: float = LOOK_UP_SECONDS,
        copied: bool = False,
    ) -> list[TupleRow]:
        async def read(connection: AsyncConnection[TupleRow]) -> list[TupleRow]:
            rows = await (await connection.execute(query, parameters)).fetchall()
            if rows and copied:
                await await_copies(connection)
            return rows

        return await ask(self._pool, read, seconds=seconds)


class LogReader:
    """The log as those have it who read every workspace: relay, projectors, followers, operators.

    One connection, used by one task at a time; its owner makes a new one when it breaks.
    """

    def __init__(self, connection: AsyncConnection[TupleRow], log_id: int) -> None:
        self._connection = connection
        self._log_id = log_id

    async def head(self) -> Head:
        """The end of the log."""
        cursor = await self._connection.execute(_HEAD, [self._log_id, self._log_id])
        row = await cursor.fetchone()
        assert row is not None, "the query has a row whatever the log holds"  # noqa: S101 - a type guard
        generation, position, chain = row
        return Head(
            generation=generation,
            position=Position(position or 0),
            chain=GENESIS if chain is None else bytes(chain),
        )

    async def read_after(self, position: Position, limit: int) -> list[KeyedEvent]:
        """Events behind a position, in order, at most `limit`."""
        cursor = self._connection.cursor(row_factory=args_row(keyed_event), binary=True)
        await cursor.execute(_READ_AFTER, [self._log_id, position, limit])
        return await cursor.fetchall()

    async def read_at(self, position: Position) -> KeyedEvent | None:
        """The event at a position; None when the log has not come so far."""
        events = await self.read_after(Position(position - 1), 1)
        return events[0] if events else None


def _stream_event(*columns: Any) -> StreamEvent:
    *event, data_key_id, master_key_id, wrapped = columns
    members = dict(zip(StreamEvent.__struct_fields__, event, strict=False))
    key = _wrapped(data_key_id, members["stream_id"], master_key_id, wrapped)
    return StreamEvent(**members, wrapped_key=key)


def keyed_event(*columns: Any) -> KeyedEvent:
    """A stored event from the columns of SELECT_KEYED."""
    # Written out and not zipped: who is far behind spends much of the time in lines like these.
    (log_id, position, workspace_id, workspace_sequence, stream_id, stream_version, event_id,
     command_id, type_, schema_version, data_key_id, payload, metadata, recorded_at, digest, chain,
     erased, master_key_id, wrapped) = columns  # fmt: skip
    event = StoredEvent(
        log_id=log_id,
        position=position,
        workspace_id=workspace_id,
        workspace_sequence=workspace_sequence,
        stream_id=stream_id,
        stream_version=stream_version,
        event_id=event_id,
        command_id=command_id,
        type=type_,
        schema_version=schema_version,
        data_key_id=data_key_id,
        payload=payload,
        metadata=metadata,
        recorded_at=recorded_at,
        digest=digest,
        chain=chain,
    )
    key = _wrapped(data_key_id, stream_id, master_key_id, wrapped)
    return KeyedEvent(stored=event, erased=erased, wrapped_key=key)


def _wrapped(
    data_key_id: UUID | None,
    stream_id: CustomerId,
    master_key_id: str | None,
    wrapped: bytes | None,
) -> WrappedKey | None:
    if data_key_id is None or master_key_id is None or wrapped is None:
        return None
    return WrappedKey(
        data_key_id=data_key_id,
        stream_id=stream_id,
        master_key_id=master_key_id,
        wrapped=bytes(wrapped),
    )
