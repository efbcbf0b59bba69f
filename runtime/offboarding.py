"""A workspace that leaves: its keys revoked, how far it is, and in the end what was erased."""

from datetime import datetime

from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow, args_row

from runtime.failure import Failure

_READ = """
SELECT workspace_id, leaving_at, exported_at, offboarded_at FROM control.workspaces
 WHERE workspace_id = %s
"""
# Whoever makes a key of the workspace waits for this row, and then finds that it leaves.
_LEAVE = """
UPDATE control.workspaces SET leaving_at = coalesce(leaving_at, clock_timestamp())
 WHERE workspace_id = %s RETURNING workspace_id, leaving_at, exported_at, offboarded_at
"""
_REVOKE = """
UPDATE control.api_keys SET revoked_at = clock_timestamp()
 WHERE workspace_id = %s AND revoked_at IS NULL
"""
_EXPORTED = """
UPDATE control.workspaces SET exported_at = clock_timestamp()
 WHERE workspace_id = %s RETURNING workspace_id, leaving_at, exported_at, offboarded_at
"""
_OFFBOARDED = """
UPDATE control.workspaces SET offboarded_at = coalesce(offboarded_at, clock_timestamp())
 WHERE workspace_id = %s RETURNING workspace_id, leaving_at, exported_at, offboarded_at
"""
_DROP_RECEIPTS = "DELETE FROM log.receipts WHERE workspace_id = ANY (%s) AND log_id = %s"
_FIGURES = """
SELECT x.workspace_id, count(*), coalesce(sum(cardinality(x.positions)), 0)::int8,
       count(*) FILTER (WHERE x.forgotten_at IS NULL),
       count(*) FILTER (WHERE x.messages_deleted_at IS NULL)
  FROM log.erasures x WHERE x.workspace_id = ANY (%s) AND x.log_id = %s
 GROUP BY 1 ORDER BY 1
"""


class Leaving(Struct, frozen=True):
    """How far the leaving of a workspace has come."""

    workspace_id: str
    leaving_at: datetime | None
    exported_at: datetime | None
    offboarded_at: datetime | None

    @property
    def data_spaces(self) -> tuple[str, str]:
        """Its live data and its sandbox."""
        return self.workspace_id, f"{self.workspace_id}_test"


class ErasedSpace(Struct, frozen=True):
    """What was erased in a data space, and what other places still have to forget."""

    data_space: str
    customers: int
    events: int
    to_forget: int
    """Customers that an edition of the read model has still to forget."""
    to_delete: int
    """Customers whose messages JetStream has still to delete."""


def find_leaving(connection: Connection[TupleRow], workspace: str) -> Leaving:
    """How far the workspace is; raises Failure when there is none."""
    with connection.cursor(row_factory=args_row(Leaving)) as cursor:
        found = cursor.execute(_READ.encode(), [workspace]).fetchone()
    if found is None:
        raise Failure(f"There is no workspace {workspace!r}.", "customers workspaces list")
    return found


def begin_leaving(connection: Connection[TupleRow], workspace: str) -> tuple[Leaving, int]:
    """Revoke every key, and let there be no new one; how many were valid."""
    with connection.transaction():
        leaving = _written(connection, _LEAVE, workspace)
        revoked = connection.execute(_REVOKE, [workspace]).rowcount
    return leaving, revoked


def note_exported(connection: Connection[TupleRow], workspace: str) -> Leaving:
    """Its customers were given out."""
    return _written(connection, _EXPORTED, workspace)


def finish_leaving(connection: Connection[TupleRow], leaving: Leaving, log_id: int) -> Leaving:
    """All are erased: drop the receipts of its requests, and say when it was."""
    with connection.transaction():
        connection.execute(_DROP_RECEIPTS, [list(leaving.data_spaces), log_id])
        return _written(connection, _OFFBOARDED, leaving.workspace_id)


def read_figures(
    connection: Connection[TupleRow], leaving: Leaving, log_id: int
) -> list[ErasedSpace]:
    """What was erased in its data spaces."""
    with connection.cursor(row_factory=args_row(ErasedSpace)) as cursor:
        return cursor.execute(_FIGURES, [list(leaving.data_spaces), log_id]).fetchall()


def _written(connection: Connection[TupleRow], query: str, workspace: str) -> Leaving:
    with connection.cursor(row_factory=args_row(Leaving)) as cursor:
        row = cursor.execute(query.encode(), [workspace]).fetchone()
    assert row is not None, "it was found before"  # noqa: S101 - a type guard
    return row
