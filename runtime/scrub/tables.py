"""Tables written anew: what was deleted from them is no longer in any file of theirs.

`VACUUM` alone makes room and leaves the bytes. `VACUUM FULL` writes a new file and removes the old
one, and locks the table meanwhile: for a bounded time, or not at all.
"""

import time
from typing import Final, LiteralString, TypeAlias

import psycopg
from msgspec import Struct
from psycopg import Connection, sql
from psycopg.rows import TupleRow

Name: TypeAlias = tuple[LiteralString, LiteralString]
"""Schema and name of a table."""

TABLES: Final[tuple[Name, ...]] = (
    ("keyring", "data_keys"),
    ("keyring", "secrets"),
    ("log", "reservations"),
    ("log", "receipts"),
)
"""What holds something of a person, or the key to it, and is not built anew with the read model."""

STATISTICS: Final[Name] = ("pg_catalog", "pg_statistic")
"""Where the planner keeps the most common values of every column, those of deleted rows too."""

ATTEMPTS: Final = 10
"""How often a table that is in use is tried to be locked, with a pause behind each."""

# Whoever waits for this lock has all others wait behind it.
_LOCK_MILLISECONDS: Final = 100
_PAUSE_SECONDS: Final = 1.0


class Rewritten(Struct, frozen=True, kw_only=True):
    """A table that was to be written anew; nobody could use it for `seconds`."""

    seconds: float
    is_new: bool
    """Not when this user may not do that: the server says so nowhere but in a warning."""


def rewrite_table(
    connection: Connection[TupleRow],
    table: Name,
    *,
    lock_seconds: float,
    attempts: int = ATTEMPTS,
) -> Rewritten | None:
    """Write a table and its statistics anew; None when that takes longer than it may be locked.

    Then nothing was changed. Needs an autocommit connection with the owner's rights.
    """
    statement = sql.SQL("VACUUM (FULL) {}").format(sql.Identifier(*table))
    before = _file_of(connection, table)
    connection.execute("SET maintenance_work_mem = '256MB'")
    connection.execute(
        "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)",
        [f"{_LOCK_MILLISECONDS}ms", f"{max(1, int(lock_seconds * 1000))}ms"],
    )
    try:
        seconds = _attempt(connection, statement, attempts)
    finally:
        connection.execute("SET lock_timeout = 0")
        connection.execute("SET statement_timeout = 0")
    if seconds is None:
        return None
    if table != STATISTICS:
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(*table)))
    return Rewritten(seconds=seconds, is_new=_file_of(connection, table) != before)


def _file_of(connection: Connection[TupleRow], table: Name) -> str | None:
    query = "SELECT pg_relation_filepath(to_regclass(%s))"
    row = connection.execute(query, [".".join(table)]).fetchone()
    return None if row is None else row[0]


def _attempt(
    connection: Connection[TupleRow], statement: sql.Composed, attempts: int
) -> float | None:
    for attempt in range(attempts):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        began = time.monotonic()
        try:
            connection.execute(statement)
        except psycopg.errors.LockNotAvailable:
            continue
        except psycopg.errors.QueryCanceled:
            return None
        return time.monotonic() - began
    return None
