"""Old write-ahead log made to go: the server keeps its files and writes over them only in time.

A file is used again with all its old bytes behind what was written since. To switch to the next one
fills the rest of a file with zeros; so every file there is gets its turn.
"""

import time
from datetime import datetime
from typing import Final

from msgspec import Struct
from psycopg import Connection
from psycopg.rows import TupleRow

# Each round leaves fewer old files; busy servers make new ones meanwhile.
_ROUNDS: Final = 8
_FILLER_BYTES: Final = 1024 * 1024

_RIGHTS: Final = """
SELECT has_function_privilege('pg_ls_waldir()', 'EXECUTE'),
       has_function_privilege('pg_switch_wal()', 'EXECUTE'),
       pg_has_role('pg_checkpoint', 'USAGE')
"""
# What is not written since is old; the file that is being written was looked at before.
_OLD: Final = """
SELECT count(*) FROM pg_ls_waldir() WHERE modification < %s AND name ~ '^[0-9A-F]{24}$'
"""
# Files that wait to be written, among them those that were used before.
_WAITING: Final = """
SELECT count(*) FROM pg_ls_waldir()
 WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_insert_lsn())
"""
_FILE: Final = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())"
_KEEPERS: Final = """
SELECT coalesce(string_agg(slot_name, ', ' ORDER BY slot_name), ''),
       current_setting('archive_mode'), current_setting('wal_keep_size'),
       (SELECT count(*) FROM pg_stat_replication)
  FROM pg_replication_slots WHERE restart_lsn IS NOT NULL
"""


class WalRights(Struct, frozen=True, kw_only=True):
    """What this user may do about the write-ahead log."""

    look: bool
    switch: bool
    checkpoint: bool

    @property
    def missing(self) -> list[str]:
        """The statements by which a superuser gives what is missing; CURRENT stands for us."""
        grants: list[str] = []
        if not self.look:
            grants.append("GRANT pg_monitor TO {user}")
        if not self.checkpoint:
            grants.append("GRANT pg_checkpoint TO {user}")
        return grants


def wal_rights(connection: Connection[TupleRow]) -> WalRights:
    """What this user may do."""
    look, switch, checkpoint = _one(connection, _RIGHTS)
    return WalRights(look=look, switch=switch, checkpoint=checkpoint)


def renew_wal(connection: Connection[TupleRow], rights: WalRights) -> int:
    """Have every file of the write-ahead log written anew or removed; how many stayed as they were.

    Some stay when a replication slot, an archive or a setting keeps them. Needs the right to look
    and to checkpoint.
    """
    _next_file(connection, rights)
    since = _next_second(connection)
    old = 0
    for _ in range(_ROUNDS):
        # What the last checkpoint does not need any more is removed, or waits to be used again.
        connection.execute("CHECKPOINT")
        (old,) = _one(connection, _OLD, [since])
        if not old:
            break
        (waiting,) = _one(connection, _WAITING)
        for _ in range(int(waiting) + 1):
            _next_file(connection, rights)
    # The one that is written now may have been an old one.
    _next_file(connection, rights)
    return int(old)


def wal_keepers(connection: Connection[TupleRow]) -> list[str]:
    """In words, what else keeps write-ahead log: slots, an archive, standbys."""
    slots, archive_mode, keep_size, standbys = _one(connection, _KEEPERS)
    words: list[str] = []
    if slots:
        words.append(f"replication slots keep write-ahead log until it was read: {slots}")
    if archive_mode != "off":
        words.append("archive_mode is on: what was archived goes when the archive expires")
    if keep_size not in ("0", "0MB"):
        words.append(f"wal_keep_size keeps {keep_size} of write-ahead log")
    if standbys:
        words.append(
            f"{standbys} standbys have files of their own: write-ahead log goes there in time"
        )
    return words


def _next_file(connection: Connection[TupleRow], rights: WalRights) -> None:
    """Let the server go on in its next file; by filling this one where it may not be asked."""
    connection.execute("SELECT pg_logical_emit_message(false, 'customers scrub', '')")
    if rights.switch:
        connection.execute("SELECT pg_switch_wal()")
        return
    (before,) = _one(connection, _FILE)
    while _one(connection, _FILE) == (before,):
        connection.execute(
            "SELECT pg_logical_emit_message(false, 'customers scrub', repeat('.', %s))",
            [_FILLER_BYTES],
        )


def _next_second(connection: Connection[TupleRow]) -> datetime:
    """A moment from which on files show that they were written: their times are whole seconds."""
    (now,) = _one(
        connection, "SELECT date_trunc('second', clock_timestamp()) + interval '1 second'"
    )
    while _one(connection, "SELECT clock_timestamp() < %s", [now]) == (True,):
        time.sleep(0.05)
    return now


def _one(
    connection: Connection[TupleRow], query: str, parameters: list[object] | None = None
) -> TupleRow:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None, "such a question has one answer"  # noqa: S101 - a type guard
    return row
