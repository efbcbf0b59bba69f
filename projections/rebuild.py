"""`customers rebuild`: a new edition of the read model, and the switch to it, with no downtime.

    begun ──► built ──► listed ──► live; the edition before is kept for the way back
      │         │         │
      └─────────┴─────────┴─► cancelled or killed: the next rebuild goes on from there

One is at work at a time. Built and compared it may be instead, which changes nothing.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.keys import Keyring
from projections.building import Builder, Sizes, Step, Tell
from projections.checkpoint import ForeignReadModel, NoEdition
from projections.comparing import Comparison, compare
from projections.failures import ParkedRecord, list_failures
from projections.rebuild_record import (
    Edition,
    Purpose,
    Rebuild,
    begin_rebuild,
    find_rebuilds,
    list_editions,
)
from projections.switching import drop_edition, register, switch
from runtime.failure import Failure
from runtime.postgres import connect
from runtime.settings import Settings, read_master_keys
from runtime.tasks import end

_POLL_SECONDS: Final = 0.2
_CANCEL_SECONDS: Final = 30.0

# Any constant of ours: held as long as the connection of the one rebuild that is at work.
_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(7305410120)"
_IS_LOCKED: Final = """
SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted
                  AND (l.classid::int8 << 32) + l.objid::int8 = 7305410120)
"""

_OTHER_LOGS: Final = """
SELECT count(*) FROM projections.checkpoints WHERE live AND log_id <> %s AND position > 0
"""
_CANCEL: Final = "UPDATE projections.rebuilds SET is_cancelled = %s WHERE edition = %s"


class Cancelled(Exception):
    """Somebody asked this rebuild to stop."""

    def __init__(self, edition: int) -> None:
        super().__init__(f"The rebuild was cancelled; edition {edition} is kept as it is.")
        self.edition = edition


class Switched(Struct, frozen=True, kw_only=True):
    """The edition that is live now, the one that was, and whom the new one had to park."""

    edition: int
    before: int
    dropped: list[int]
    position: int
    parked: list[ParkedRecord]


class Rebuilds:
    """What an operator does with editions; `settings` with the URL of the tables' owner."""

    def __init__(self, settings: Settings, sizes: Sizes | None = None) -> None:
        self._settings = settings
        self._sizes = sizes or Sizes()
        self._log_id = settings.log_id

    @cached_property
    def _keyring(self) -> Keyring:
        # Who only looks or drops needs no master key.
        return Keyring(read_master_keys(self._settings))

    async def rebuild(self, jobs: int, tell: Tell, *, anew: bool = False) -> Switched:
        """Build a new edition, or go on with the one begun, and let it be the live one.

        The edition that was live is kept; older ones go. `anew` goes on with nothing that was begun
        before. Raises Cancelled, Failure, KeyUnavailable.
        """
        async with self._alone() as connection:
            rebuild = await self._begun(connection, "switch", anew=anew)
            if rebuild.stage != "switching":
                await self._build(connection, rebuild, jobs, tell)
                await register(connection, rebuild.edition)
            step = Step(edition=rebuild.edition, stage="switching", done=0, total=1)
            tell(step)
            switched = await self._switch(connection, rebuild.edition)
            tell(replace(step, done=1))
            return switched

    async def verify(self, jobs: int, tell: Tell) -> Comparison:
        """Build an edition, compare the live one with it, drop it.

        Raises Cancelled, Failure, KeyUnavailable.
        """
        async with self._alone() as connection:
            live = await self._live(connection)
            if not live.is_current:
                raise Failure(
                    f"Edition {live.edition} has the tables of another version, and nothing to "
                    "compare it with can be built.",
                    "customers rebuild",
                )
            rebuild = await self._begun(connection, "verify")
            try:
                await self._build(connection, rebuild, jobs, tell)
                async with self._connection() as follower:
                    return await compare(
                        connection,
                        follower,
                        self._keyring,
                        live.edition,
                        rebuild.edition,
                        self._log_id,
                    )
            finally:
                await drop_edition(connection, rebuild.edition, self._log_id)

    async def roll_back(self) -> Switched:
        """Let the edition that is kept be the live one again. Raises Failure."""
        async with self._alone() as connection:
            kept = [one for one in await list_editions(connection, self._log_id) if not one.live]
            if not kept:
                raise Failure("There is no edition to go back to.", "customers rebuild list")
            return await self._switch(connection, kept[-1].edition)

    async def drop(self, edition: int | None) -> list[int]:
        """Drop a kept or half-built edition, or all of them; which. Raises Failure."""
        async with self._alone() as connection:
            editions = await list_editions(connection, self._log_id)
            if any(one.live and one.edition == edition for one in editions):
                raise Failure(
                    f"Edition {edition} is the one that is read.", "customers rebuild rollback"
                )
            begun = [one.edition for one in await find_rebuilds(connection)]
            those = {one.edition for one in editions if not one.live} | set(begun)
            if edition is not None and edition not in those:
                raise Failure(f"There is no edition {edition}.", "customers rebuild list")
            dropped = sorted(those if edition is None else {edition})
            for one in dropped:
                await drop_edition(connection, one, self._log_id)
            return dropped

    async def cancel(self) -> Rebuild:
        """Stop the rebuild that is at work, wherever it runs; where it stopped. Raises Failure."""
        async with self._connection() as connection:
            begun = await find_rebuilds(connection)
            if not begun or await _is_idle(connection):
                raise Failure("No rebuild is at work.", "customers rebuild status")
            for one in begun:
                await connection.execute(_CANCEL, [True, one.edition])
            deadline = asyncio.get_running_loop().time() + _CANCEL_SECONDS
            while not await _is_idle(connection):
                if asyncio.get_running_loop().time() > deadline:
                    raise Failure(
                        f"The rebuild has not stopped within {_CANCEL_SECONDS:.0f} seconds.",
                        "customers rebuild status",
                    )
                await asyncio.sleep(_POLL_SECONDS)
            edition = begun[-1].edition
            now = [one for one in await find_rebuilds(connection) if one.edition == edition]
            if not now and begun[-1].purpose == "switch":
                raise Failure(
                    f"Edition {edition} was live before it could be stopped.",
                    "customers rebuild rollback",
                )
            return now[-1] if now else begun[-1]

    async def look(self) -> tuple[list[Edition], list[Rebuild], bool]:
        """The complete editions, those that are not, and whether somebody is at work on them."""
        async with self._connection() as connection:
            editions = await list_editions(connection, self._log_id)
            return editions, await find_rebuilds(connection), not await _is_idle(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[AsyncConnection[TupleRow]]:
        async with await connect(
            self._settings, None, "customers rebuild", statement_timeout=0
        ) as connection:
            yield connection

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[AsyncConnection[TupleRow]]:
        """A connection with which nobody else rebuilds, switches or drops."""
        async with self._connection() as connection:
            if not await _try_lock(connection):
                begun = await find_rebuilds(connection)
                since = f", since {begun[-1].begun_at:%H:%M:%S} UTC" if begun else ""
                raise Failure(
                    f"Another rebuild is at work{since}: there is only one at a time.",
                    "customers rebuild status, or customers rebuild cancel",
                )
            await self._check_logs(connection)
            try:
                yield connection
            except (NoEdition, ForeignReadModel) as error:
                raise Failure(str(error), "customers status") from error

    async def _check_logs(self, connection: AsyncConnection[TupleRow]) -> None:
        cursor = await connection.execute(_OTHER_LOGS, [self._log_id])
        row = await cursor.fetchone()
        if row is not None and row[0]:
            raise Failure(
                f"The read model holds other logs than {self._log_id} too, and would lose them.",
                "one database for each log",
            )

    async def _live(self, connection: AsyncConnection[TupleRow]) -> Edition:
        for one in await list_editions(connection, self._log_id):
            if one.live:
                return one
        raise NoEdition

    async def _begun(
        self, connection: AsyncConnection[TupleRow], purpose: Purpose, *, anew: bool = False
    ) -> Rebuild:
        """The rebuild to go on with, else a new one; what nobody can go on with is dropped."""
        # Without them nothing is begun.
        read_master_keys(self._settings)
        await self._live(connection)
        found: Rebuild | None = None
        for one in await find_rebuilds(connection):
            if one.purpose == "switch" and one.can_go_on and not anew:
                found = one if purpose == "switch" else None
            else:
                await drop_edition(connection, one.edition, self._log_id)
        if found is None:
            return await begin_rebuild(connection, self._log_id, purpose)
        await connection.execute(_CANCEL, [False, found.edition])
        return found

    async def _build(
        self, connection: AsyncConnection[TupleRow], rebuild: Rebuild, jobs: int, tell: Tell
    ) -> None:
        """Build until the end, or until somebody cancels it. Raises Cancelled."""
        builder = Builder(self._settings, self._connection, rebuild, jobs, self._sizes, tell)
        building = asyncio.create_task(builder.build(connection))
        watching = asyncio.create_task(self._cancelled(rebuild.edition))
        try:
            await asyncio.wait({building, watching}, return_when=asyncio.FIRST_COMPLETED)
            was_cancelled = not building.done()
        finally:
            await end(building, watching)
        if was_cancelled:
            watching.result()
            raise Cancelled(rebuild.edition)
        building.result()

    async def _cancelled(self, edition: int) -> None:
        """Return when somebody cancels the building of an edition."""
        async with self._connection() as connection:
            while True:
                begun = await find_rebuilds(connection)
                if not any(one.edition == edition and not one.is_cancelled for one in begun):
                    return
                await asyncio.sleep(_POLL_SECONDS)

    async def _switch(self, connection: AsyncConnection[TupleRow], target: int) -> Switched:
        async with self._connection() as follower:
            before = await switch(connection, follower, self._keyring, target, self._log_id)
        older = [
            one.edition
            for one in await list_editions(connection, self._log_id)
            if one.edition not in (target, before)
        ]
        for edition in older:
            await drop_edition(connection, edition, self._log_id)
        live = await self._live(connection)
        return Switched(
            edition=target,
            before=before,
            dropped=older,
            position=live.position or 0,
            parked=await list_failures(connection, target, self._log_id),
        )


async def _try_lock(connection: AsyncConnection[TupleRow]) -> bool:
    cursor = await connection.execute(_TRY_LOCK)
    return await cursor.fetchone() == (True,)


async def _is_idle(connection: AsyncConnection[TupleRow]) -> bool:
    """Whether nobody rebuilds, switches or drops."""
    cursor = await connection.execute(_IS_LOCKED)
    return await cursor.fetchone() == (False,)
