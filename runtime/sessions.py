"""What sessions of others do to the service: who holds the log's lock, or a transaction open."""

from typing import Final, LiteralString

import psycopg
from msgspec import Struct
from psycopg.rows import args_row

from runtime.postgres import connect_as_owner
from runtime.settings import Settings

_APPEND_SECONDS: Final = 5
_OPEN_SECONDS: Final = 3600

# Of each session in a transaction of this database that one has to hear of: whether it holds the
# lock that appends take turns with. Whoever may not see other sessions is told of none.
_ASK: Final[LiteralString] = """
SELECT a.pid, coalesce(nullif(a.application_name, ''), 'an unnamed session'),
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8, l.granted IS NOT NULL,
       a.wait_event IS NOT DISTINCT FROM 'SyncRep'
  FROM pg_stat_activity a
  LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory' AND l.granted
                      AND l.classid = 730541 AND l.objid = %s AND l.objsubid = 2
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
   AND a.xact_start < clock_timestamp() - make_interval(
           secs => CASE WHEN l.granted IS NULL THEN %s ELSE %s END)
 ORDER BY a.xact_start
"""


class OpenTransaction(Struct, frozen=True):
    """A transaction that has been open for long, and whether appends wait for it."""

    pid: int
    application: str
    seconds: float
    holds_log: bool
    awaits_standby: bool
    """Whether all that is left is that its synchronous standby has it too."""

    @property
    def words(self) -> str:
        """What is wrong with it."""
        where, what = "", "nothing that was deleted since can be cleaned up"
        if self.holds_log:
            where, what = ", with the lock of the log", "no write goes on"
        if self.awaits_standby:
            where += ", and waits for the synchronous standby"
        return (
            f"session {self.pid} ({self.application}) has been in one transaction for "
            f"{self.seconds:.0f} s{where}: {what}"
        )

    @property
    def mend(self) -> str:
        """What to do about it."""
        if self.awaits_standby:
            return (
                "start the standby that synchronous_standby_names names, or another; leave the "
                "session alone: ended, it counts although no standby has it"
            )
        return f"end that transaction, or SELECT pg_terminate_backend({self.pid})"


def ask_transactions(
    settings: Settings,
    *,
    append_seconds: float = _APPEND_SECONDS,
    open_seconds: float = _OPEN_SECONDS,
) -> list[OpenTransaction]:
    """Those older than that, the oldest first; none when the database is away.

    Needs the owner's rights.
    """
    try:
        with connect_as_owner(settings, "customers doctor") as connection:
            cursor = connection.cursor(row_factory=args_row(OpenTransaction))
            asked = [settings.log_id, open_seconds, append_seconds]
            return cursor.execute(_ASK, asked).fetchall()
    except psycopg.Error:
        return []
