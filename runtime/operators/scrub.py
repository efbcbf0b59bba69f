"""The scrub: whatever may hold bytes of rows that are gone is written anew, step by step.

First the tables that hold something of a person or the key to it, then the read model, by a rebuild
that nobody notices, then the planner's statistics, then the write-ahead log, which has seen it all.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
import structlog
from msgspec import Struct
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from runtime.failure import Failure
from runtime.lifecycle import registered, run_until_told
from runtime.postgres import connect, connect_as_owner
from runtime.scrub.record import Scrub, begin_scrub, finish_scrub, note_step, read_scrub_state
from runtime.scrub.tables import STATISTICS, TABLES, Name, rewrite_table
from runtime.scrub.wal import renew_wal, wal_keepers, wal_rights
from runtime.settings import Settings
from runtime.words import one_line

if TYPE_CHECKING:
    from projections.rebuild import Rebuilds

_NAME: Final = "customers scrub"
_LOCK: Final = "SELECT pg_try_advisory_lock(7305410121)"
_TEMPORARY: Final = "SELECT count(*) FROM pg_ls_tmpdir()"
_JOBS: Final = 1
# Who cannot scrub now tries again after so many seconds, and looks so often whether it is time.
_AGAIN_SECONDS: Final = 6 * 3600.0
_AWAY_SECONDS: Final = 30.0

log = structlog.get_logger()

Tell = Callable[[str], None]
"""Hears what is done now, and what came of it."""


class Scrubbed(Struct, frozen=True, kw_only=True):
    """A finished scrub; for so long at a time nobody could use a table."""

    scrub: Scrub
    longest_lock: float


def run_scrub(settings: Settings, lock_seconds: float, tell: Tell) -> Scrubbed:
    """Scrub now, or go on with a scrub that was cut off. Raises Failure when it cannot be finished.

    Needs the owner's rights and the master keys.
    """
    # Only when it is time: whoever waits for that, for days, needs nothing of it.
    from projections.rebuild import Rebuilds  # noqa: PLC0415 - see above

    rebuilds = Rebuilds(settings)
    with _alone(settings) as connection:
        return _Scrubber(connection, rebuilds, lock_seconds, tell).run()


async def run_scheduled_scrub(settings: Settings, every_days: int, lock_seconds: float) -> None:
    """Scrub whenever it is due, until SIGTERM or SIGINT; what goes wrong is tried again."""

    @asynccontextmanager
    async def connecting() -> AsyncGenerator[AsyncConnection[TupleRow]]:
        async with await connect(settings, None, "customers scrub beat") as connection:
            yield connection

    state: dict[str, object] = {"every_days": every_days}
    async with registered(connecting, "scrub", lambda: state):
        await run_until_told(_keep_scrubbed(settings, every_days, lock_seconds))


async def _keep_scrubbed(settings: Settings, every_days: int, lock_seconds: float) -> None:
    while True:
        try:
            wait = await asyncio.to_thread(_scrub_if_due, settings, every_days, lock_seconds)
        except psycopg.OperationalError as error:
            log.warning("scrub.no_database", error=type(error).__name__)
            wait = _AWAY_SECONDS
        except Failure as failure:
            log.warning("scrub.unfinished", reason=failure.reason, try_next=failure.try_next)
            wait = _AGAIN_SECONDS
        await asyncio.sleep(wait)


def _scrub_if_due(settings: Settings, every_days: int, lock_seconds: float) -> float:
    """Scrub if it is time; in how many seconds to look again."""
    with connect_as_owner(settings, _NAME) as connection:
        state = read_scrub_state(connection, every_days)
    if not state.is_due:
        return min(_AGAIN_SECONDS, (state.due_at - state.now).total_seconds() + 1)
    done = run_scrub(settings, lock_seconds, lambda words: log.info("scrub.step", words=words))
    log.info("scrub.finished", lock_seconds=round(done.longest_lock, 3))
    return 1.0


@contextmanager
def _alone(settings: Settings) -> Generator[Connection[TupleRow]]:
    with connect_as_owner(settings, _NAME) as connection:
        row = connection.execute(_LOCK).fetchone()
        if row != (True,):
            raise Failure("Another scrub is at work.", "customers status, which tells how it went")
        yield connection


class _Scrubber:
    def __init__(
        self,
        connection: Connection[TupleRow],
        rebuilds: "Rebuilds",
        lock_seconds: float,
        tell: Tell,
    ) -> None:
        self._connection = connection
        self._rebuilds = rebuilds
        self._lock_seconds = lock_seconds
        self._tell = tell
        self._scrub = begin_scrub(connection)
        self._longest = 0.0
        self._too_long: list[str] = []

    def run(self) -> Scrubbed:
        if self._scrub.steps:
            self._tell(f"goes on behind: {', '.join(self._scrub.steps)}")
        for table in TABLES:
            self._step(".".join(table), lambda table=table: self._rewrite(table))
        self._step("read model", self._rebuild)
        self._step(".".join(STATISTICS), lambda: self._rewrite(STATISTICS))
        if self._too_long:
            raise Failure(
                f"{' and '.join(self._too_long)} cannot be written anew within "
                f"{self._lock_seconds:g} s, for which others may have to wait.",
                "customers scrub --lock 30 in a quiet hour, which does the rest: requests that "
                "wait too long then are answered 503",
            )
        self._step("write-ahead log", self._renew_wal)
        return Scrubbed(
            scrub=finish_scrub(self._connection, self._scrub), longest_lock=self._longest
        )

    def _step(self, name: str, work: Callable[[], list[str] | None]) -> None:
        """Do it unless it is done; what it answers is left over, None: it is not done yet."""
        if name in self._scrub.steps:
            return
        left_over = work()
        if left_over is not None:
            self._scrub = note_step(self._connection, self._scrub, name, left_over)
            for words in left_over:
                self._tell(f"left over: {words}")

    def _rewrite(self, table: Name) -> list[str] | None:
        name = ".".join(table)
        done = rewrite_table(self._connection, table, lock_seconds=self._lock_seconds)
        if done is None:
            self._too_long.append(name)
            self._tell(f"{name}: could not be locked, or takes too long")
            return None
        if not done.is_new:
            return [f"{name} can be written anew only by the owner of the database"]
        self._longest = max(self._longest, done.seconds)
        self._tell(f"{name}: written anew, locked for {done.seconds:.2f} s")
        return []

    def _rebuild(self) -> list[str]:
        switched = asyncio.run(self._rebuilds.rebuild(_JOBS, lambda _: None, anew=True))
        dropped = asyncio.run(self._rebuilds.drop(None))
        self._tell(
            f"read model: built anew as edition {switched.edition}, editions "
            f"{', '.join(map(str, sorted({*switched.dropped, *dropped})))} dropped"
        )
        return []

    def _renew_wal(self) -> list[str]:
        connection = self._connection
        rights, left_over = wal_rights(connection), wal_keepers(connection)
        if rights.missing:
            (user,) = connection.execute("SELECT current_user").fetchone() or ("",)
            grants = "; ".join(rights.missing).format(user=user)
            words = "the write-ahead log keeps old bytes until the server writes over them"
            left_over.append(f"{words}; a superuser lets this scrub do it: {grants}")
            return left_over
        try:
            (temporary,) = connection.execute(_TEMPORARY).fetchone() or (0,)
        except psycopg.errors.InsufficientPrivilege as error:
            self._tell(one_line(error))
            temporary = 0
        if temporary:
            left_over.append(f"{temporary} temporary files, which go when their query ends")
        old = renew_wal(connection, rights)
        if old:
            left_over.append(f"{old} files of the write-ahead log are still kept by the server")
        self._tell("write-ahead log: every file was written anew or removed")
        return left_over
