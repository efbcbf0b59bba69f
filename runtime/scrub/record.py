"""When the database was scrubbed, and when it is to be next."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow, args_row

from runtime.ids import new_id

# Who scrubs when it is due needs some time, and may have to wait for a quiet moment.
_GRACE = timedelta(days=1)
# One that was cut off is taken up again only while it is young: what it says is as of its start.
_RESUMABLE = timedelta(days=1)

_BEGIN = """
INSERT INTO log.scrubs (scrub_id) VALUES (%s)
RETURNING scrub_id, started_at, finished_at, steps, left_over
"""
_NEWEST = """
SELECT scrub_id, started_at, finished_at, steps, left_over FROM log.scrubs
 ORDER BY started_at DESC LIMIT 1
"""
_FINISHED = """
SELECT scrub_id, started_at, finished_at, steps, left_over FROM log.scrubs
 WHERE finished_at IS NOT NULL ORDER BY started_at DESC LIMIT 1
"""
_STEP = """
UPDATE log.scrubs SET steps = steps || %s::text, left_over = left_over || %s::text[]
 WHERE scrub_id = %s
RETURNING scrub_id, started_at, finished_at, steps, left_over
"""
_FINISH = """
UPDATE log.scrubs SET finished_at = clock_timestamp() WHERE scrub_id = %s
RETURNING scrub_id, started_at, finished_at, steps, left_over
"""
# Without a scrub so far, the time runs from the day the database was made.
_SINCE = """
SELECT coalesce((SELECT max(started_at) FROM log.scrubs WHERE finished_at IS NOT NULL),
                (SELECT min(applied_at) FROM public.customers_migrations)),
       clock_timestamp()
"""


class Scrub(Struct, frozen=True):
    """One scrub: what was gone when it started is gone from the files when it has finished."""

    scrub_id: UUID
    started_at: datetime
    finished_at: datetime | None
    steps: list[str]
    left_over: list[str]


class ScrubState(Struct, frozen=True, kw_only=True):
    """The last finished scrub, and when the next is due."""

    last: Scrub | None
    due_at: datetime
    now: datetime

    @property
    def is_due(self) -> bool:
        """Whether it is time."""
        return self.due_at <= self.now

    @property
    def is_overdue(self) -> bool:
        """Whether nobody seems to see to it."""
        return self.due_at + _GRACE <= self.now


def begin_scrub(connection: Connection[TupleRow]) -> Scrub:
    """A new scrub, or the one that was cut off lately."""
    newest = _read(connection, _NEWEST)
    if newest is None or newest.finished_at is not None:
        return _written(connection, _BEGIN, new_id())
    if datetime.now(UTC) - newest.started_at < _RESUMABLE:
        return newest
    return _written(connection, _BEGIN, new_id())


def note_step(
    connection: Connection[TupleRow], scrub: Scrub, step: str, left_over: list[str]
) -> Scrub:
    """A step is done, and this it could not clean."""
    return _written(connection, _STEP, step, left_over, scrub.scrub_id)


def finish_scrub(connection: Connection[TupleRow], scrub: Scrub) -> Scrub:
    """All steps are done."""
    return _written(connection, _FINISH, scrub.scrub_id)


def read_scrub_state(connection: Connection[TupleRow], every_days: int) -> ScrubState:
    """When the last scrub was, and when the next is due."""
    row = connection.execute(_SINCE).fetchone()
    assert row is not None, "there is always a time"  # noqa: S101 - a type guard
    since, now = row
    due_at = since + timedelta(days=every_days)
    return ScrubState(last=_read(connection, _FINISHED), due_at=due_at, now=now)


def _read(connection: Connection[TupleRow], query: str) -> Scrub | None:
    with connection.cursor(row_factory=args_row(Scrub)) as cursor:
        return cursor.execute(query.encode()).fetchone()


def _written(connection: Connection[TupleRow], query: str, *parameters: object) -> Scrub:
    with connection.cursor(row_factory=args_row(Scrub)) as cursor:
        scrub = cursor.execute(query.encode(), parameters).fetchone()
    assert scrub is not None, "what was written is answered"  # noqa: S101 - a type guard
    return scrub
