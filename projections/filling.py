"""Fills an edition from the log, range by range: of each customer only the newest event counts.

Each range is one short transaction of rows and of the note that they are there. Ranges may be
filled in any order, by several workers, and again: the note lets a range in only once.
"""

import gc
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, LiteralString, TypeAlias

import psycopg
from msgspec import Struct
from psycopg import Connection, sql
from psycopg.rows import TupleRow, args_row

from events.append import KeyedEvent
from events.envelope import CustomerId, Position
from events.errors import KeyUnavailable
from events.keys import Keyring
from events.log import SELECT_KEYED, keyed_event
from projections.checkpoint import schema_of
from projections.customers import (
    GONE,
    CustomerRow,
    Folded,
    LogEvent,
    ParkedCustomer,
    UnreadableEvent,
    explain,
    make_row,
    park,
)
from projections.opening import open_events
from projections.projector import REFUSALS
from runtime.postgres import connect_as_owner
from runtime.settings import Settings, read_master_keys

_NICE: Final = 10
_POLL_SECONDS: Final = 0.5
# An event loop waits for it.
_CANCEL_SECONDS: Final = 1.0

# The newest event up to a position of each customer whose newest one lies in the range; found by
# index whatever the statistics say.
_NEWEST_IN_RANGE: Final[LiteralString] = (
    SELECT_KEYED
    + """
 WHERE e.log_id = %(log)s AND e.position BETWEEN %(first)s AND %(last)s
   AND e.type <> ALL (%(gone)s)
   AND NOT EXISTS (SELECT FROM log.events n
                    WHERE n.stream_id = e.stream_id AND n.stream_version = e.stream_version + 1
                      AND n.position <= %(until)s)
"""
)
# What a crash of the server takes back, rows and note alike, is filled in again. To start processes
# for a range that is read in milliseconds costs more than they do.
_PREPARE: Final = """
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
SET max_parallel_workers_per_gather = 0; SET synchronous_commit = off
"""

# When these customers were created, and where in the log.
_CREATED: Final = """
SELECT e.stream_id, e.recorded_at, e.position FROM log.events e
 WHERE e.stream_id = ANY (%s) AND e.stream_version = 1
"""

# All events of one customer up to a position.
_STORY: Final[LiteralString] = (
    SELECT_KEYED
    + """
 WHERE e.log_id = %s AND e.stream_id = %s AND e.position <= %s ORDER BY e.stream_version
"""
)

# Lets one worker in; another one that is at the same range waits for the first, and is refused.
_NOTE_RANGE: Final = """
INSERT INTO projections.rebuild_ranges (edition, first_position, last_position)
VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
"""

_COLUMNS: Final = {
    "workspace_id": "text",
    "customer_id": "uuid",
    "version": "int4",
    "position": "int8",
    "born": "int8",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "document": "bytea",
    "search_text": "text",
    "tag_keys": "text[]",
    "tag_spellings": "text[]",
    "external_id": "text",
    "email_key": "text",
    "phone": "text",
    "email_sort_key": "text",
    "last_name_key": "text",
    "company_name_key": "text",
}
_COPY: Final = sql.SQL("COPY {}.customers ({}) FROM STDIN (FORMAT BINARY)")
_INSERT: Final = sql.SQL("INSERT INTO {}.customers ({}) VALUES ({})")
_PARK: Final = sql.SQL("""
INSERT INTO {}.parked (workspace_id, customer_id, log_id, position, reason, stack)
VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
""")


Born: TypeAlias = dict[CustomerId, Position]
"""Where the customers were created whose newest event is another one."""


class Range(Struct, frozen=True, kw_only=True):
    """Positions of a log that are filled into an edition in one transaction."""

    edition: int
    log_id: int
    first: Position
    last: Position
    until: Position
    """Where the whole filling ends: what comes behind is not looked at."""


class Filler:
    """Fills ranges over one connection with the owner's rights."""

    def __init__(self, settings: Settings) -> None:
        self._keyring = Keyring(read_master_keys(settings))
        self._connection = connect_as_owner(settings, "customers rebuild: filling")
        self._connection.execute(_PREPARE)
        self._is_given_up = False

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def cancel(self) -> None:
        """Give up the range that another thread is at, also one that waits for a lock.

        Where the server does not hear that soon, the range ends by itself, and does no harm.
        """
        self._is_given_up = True
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=_CANCEL_SECONDS)

    def fill(self, part: Range) -> None:
        """Bring the customers of a range into the edition, unless they are there.

        Raises KeyUnavailable.
        """
        folded, born = self._fold(part)
        if self._is_given_up:
            return
        with self._connection.transaction():
            noted = self._connection.execute(_NOTE_RANGE, [part.edition, part.first, part.last])
            if noted.rowcount:
                _write(self._connection, part, folded, born)

    def _fold(self, part: Range) -> tuple[Folded, Born]:
        folded = Folded(rows=[], gone=[], parked=[])
        keyed = self._read(
            _NEWEST_IN_RANGE,
            {
                "log": part.log_id,
                "first": part.first,
                "last": part.last,
                "until": part.until,
                "gone": list(GONE),
            },
        )
        created, born = self._find_created(keyed)
        for event in open_events(self._keyring, keyed):
            if isinstance(event, UnreadableEvent):
                self._fold_story(part, event.stream_id, folded)
            elif event.event is not None:
                created_at = created.get(event.stream_id, event.recorded_at)
                _add(folded, _row_of(event, created_at))
        return folded, born

    def _fold_story(self, part: Range, customer_id: CustomerId, folded: Folded) -> None:
        """Park a customer whose newest event nobody can read, with the row of those before."""
        keyed = self._read(_STORY, [part.log_id, customer_id, part.until])
        row: CustomerRow | ParkedCustomer | None = None
        parked: ParkedCustomer | None = None
        for event in open_events(self._keyring, keyed):
            if event.type in GONE:
                row, parked = None, None
            elif parked is None:
                made = _row_of(event, keyed[0].stored.recorded_at)
                if isinstance(made, ParkedCustomer):
                    parked = made
                else:
                    row = made
        _add(folded, row)
        _add(folded, parked)

    def _read(
        self, query: LiteralString, parameters: Sequence[object] | dict[str, object]
    ) -> list[KeyedEvent]:
        with self._connection.cursor(row_factory=args_row(keyed_event), binary=True) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def _find_created(self, keyed: Sequence[KeyedEvent]) -> tuple[dict[CustomerId, datetime], Born]:
        older = [event.stored.stream_id for event in keyed if event.stored.stream_version > 1]
        rows = self._connection.execute(_CREATED, [older]).fetchall() if older else []
        return (
            {CustomerId(customer_id): created_at for customer_id, created_at, _ in rows},
            {CustomerId(customer_id): position for customer_id, _, position in rows},
        )


def _write(connection: Connection[TupleRow], part: Range, folded: Folded, born: Born) -> None:
    parked = list(folded.parked)
    try:
        with connection.transaction():
            _copy(connection, part, folded.rows, born)
    except REFUSALS:
        for row in folded.rows:
            try:
                with connection.transaction():
                    _insert(connection, part, row, born)
            except REFUSALS as error:
                reason, stack = explain(error)
                parked.append(
                    ParkedCustomer(
                        workspace_id=row.workspace_id,
                        customer_id=row.customer_id,
                        position=row.position,
                        reason=reason,
                        stack=stack,
                    )
                )
    for customer in parked:
        values = [customer.workspace_id, customer.customer_id, part.log_id, customer.position]
        values += [customer.reason, customer.stack]
        connection.execute(_PARK.format(schema_of(part.edition)), values)


def _copy(
    connection: Connection[TupleRow], part: Range, rows: Sequence[CustomerRow], born: Born
) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    statement = _COPY.format(schema_of(part.edition), names)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(list(_COLUMNS.values()))
        for row in rows:
            copy.write_row(_values(row, born))


def _insert(connection: Connection[TupleRow], part: Range, row: CustomerRow, born: Born) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    places = sql.SQL(", ").join([sql.Placeholder()] * len(_COLUMNS))
    statement = _INSERT.format(schema_of(part.edition), names, places)
    connection.execute(statement, _values(row, born))


def _values(row: CustomerRow, born: Born) -> list[object]:
    # Written out and not read by name: a million times this is felt.
    return [
        row.workspace_id, row.customer_id, row.version, row.position,
        born.get(row.customer_id, row.position), row.created_at, row.updated_at, row.document,
        row.search_text, row.tag_keys, row.tag_spellings, row.external_id, row.email_key,
        row.phone, row.email_sort_key, row.last_name_key, row.company_name_key,
    ]  # fmt: skip


def _row_of(event: LogEvent, created_at: datetime) -> CustomerRow | ParkedCustomer:
    if isinstance(event, UnreadableEvent):
        return park(event, event.reason, event.stack)
    try:
        return make_row(event, created_at)
    except Exception as error:  # noqa: BLE001 - whatever it is, only this customer waits
        return park(event, *explain(error))


def _add(folded: Folded, made: CustomerRow | ParkedCustomer | None) -> None:
    if isinstance(made, CustomerRow):
        folded.rows.append(made)
    elif made is not None:
        folded.parked.append(made)


_filler: Filler | None = None


def begin_worker(settings: Settings, parent: int) -> None:
    """Make this process ready to fill; it ends when its parent does, however that happens."""
    global _filler  # noqa: PLW0603 - what an executor hands its workers lives in their module
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICE)
    # Nothing here makes cycles, and to look for them among so many events takes a third of it all.
    gc.disable()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _filler = Filler(settings)


def fill_range(part: Range) -> str | None:
    """Fill a range in a process that was begun; the id of the master key that is missing, if any.

    It is told so because its error does not survive the way between processes.
    """
    assert _filler is not None, "the executor has begun this worker"  # noqa: S101 - a type guard
    try:
        _filler.fill(part)
    except KeyUnavailable as error:
        return error.master_key_id
    return None


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
