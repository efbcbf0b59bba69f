"""Builds an edition from the log, as quickly as it can and with nobody noticing.

    reading ──► indexing ──► catching up
    the log by ranges        with what was appended since

Whatever interrupts it, building goes on at that stage.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from multiprocessing import get_context
from typing import Final, TypeAlias

from msgspec import Struct
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from events.errors import KeyUnavailable
from events.keys import Keyring
from projections.checkpoint import schema_of
from projections.editions import functions_of
from projections.filling import Filler, Range, begin_worker, fill_range
from projections.rebuild_record import (
    Rebuild,
    Stage,
    count_customers,
    mark_as_built,
    missing_ranges,
    note_stage,
)
from projections.switching import follow
from runtime.settings import Settings, read_master_keys
from runtime.tasks import end

Connecting: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncConnection[TupleRow]]]
"""Lends a connection with the owner's rights."""

# What an index build may use; the server's default makes that of a search three times as long.
_INDEX_MEMORY: Final = "256MB"
# With so many processes beside its own an index is built.
_PREPARE_INDEX: Final = f"""
SET maintenance_work_mem = '{_INDEX_MEMORY}'; SET max_parallel_maintenance_workers = {{:d}}
"""

# Whoever is served needs a processor too; so many transactions a second are no idle looks.
_TRANSACTIONS: Final = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
_BUSY: Final = 100
_SAMPLE_SECONDS: Final = 1.0


class Sizes(Struct, frozen=True, kw_only=True):
    """In which pieces an edition is built."""

    range_events: int = 5000
    """Positions in one transaction: few enough to be stopped, and for who waits behind it."""
    few_events: int = 20_000
    """Up to so many, processes of our own would not be worth their start."""


class Step(Struct, frozen=True, kw_only=True):
    """What a rebuild is doing, and how much of it is done."""

    edition: int
    stage: Stage
    done: int
    total: int


Tell: TypeAlias = Callable[[Step], None]


class Builder:
    """Builds one edition; `jobs` processors are kept busy, here and in Postgres.

    Beside a service that is used it is one, however many it might be, and half of the time.
    """

    def __init__(
        self,
        settings: Settings,
        connecting: Connecting,
        rebuild: Rebuild,
        jobs: int,
        sizes: Sizes,
        tell: Tell,
    ) -> None:
        self._settings = settings
        self._connecting = connecting
        self._rebuild = rebuild
        self._jobs = jobs
        self._sizes = sizes
        self._tell_of = tell

    async def build(self, connection: AsyncConnection[TupleRow]) -> None:
        """Bring the edition, from wherever it is, to the end of the log."""
        rebuild = self._rebuild
        if rebuild.stage == "reading":
            await self._read(connection)
            await note_stage(connection, rebuild.edition, "indexing")
        if rebuild.stage in ("reading", "indexing"):
            await self._index(connection)
        if rebuild.stage != "switching":
            await self._catch_up(connection)

    async def _read(self, connection: AsyncConnection[TupleRow]) -> None:
        parts = await missing_ranges(connection, self._rebuild, self._sizes.range_events)
        total = int(self._rebuild.until_position)
        done = total - sum(part.last - part.first + 1 for part in parts)
        self._tell("reading", done, total)
        waiting = iter(parts)
        now = asyncio.get_running_loop().time
        is_shared = True

        async def work(fill: Callable[[Range], Awaitable[None]]) -> None:
            nonlocal done
            for part in waiting:
                began = now()
                await fill(part)
                done += part.last - part.first + 1
                self._tell("reading", done, total)
                if is_shared:
                    # Whoever is served gets as much time as was taken from them.
                    await asyncio.sleep(now() - began)

        async def join_in(fill: Callable[[Range], Awaitable[None]]) -> None:
            nonlocal is_shared
            jobs = await self._count_jobs(connection)
            is_shared = jobs < self._jobs
            await _all(work(fill) for _ in range(jobs - 1))

        async with self._workers(total - done) as fill:
            # One begins, and takes its rests, while the others are still in question.
            await _all([work(fill), join_in(fill)])

    @asynccontextmanager
    async def _workers(self, events: int) -> AsyncGenerator[Callable[[Range], Awaitable[None]]]:
        """What fills ranges: processes, or one thread where they would not be worth their start."""
        executor: Executor
        filler: Filler | None = None
        if events > self._sizes.few_events:
            executor = ProcessPoolExecutor(
                self._jobs,
                mp_context=get_context("spawn"),
                initializer=begin_worker,
                initargs=(self._settings, os.getpid()),
            )
        else:
            executor = ThreadPoolExecutor(1)
            filler = Filler(self._settings)

        async def fill(part: Range) -> None:
            loop = asyncio.get_running_loop()
            if filler is not None:
                await loop.run_in_executor(executor, filler.fill, part)
                return
            missing = await loop.run_in_executor(executor, fill_range, part)
            if missing is not None:
                raise KeyUnavailable(missing)

        try:
            yield fill
        except BaseException:
            if filler is not None:
                filler.cancel()
            raise
        finally:
            if filler is not None:
                executor.submit(filler.close)
            # The ranges under way are short; who is cancelled does not wait for them.
            executor.shutdown(wait=False, cancel_futures=filler is None)

    async def _index(self, connection: AsyncConnection[TupleRow]) -> None:
        rebuild = self._rebuild
        indexes = rebuild.indexes
        if rebuild.purpose == "verify":
            indexes = [index for index in indexes if " UNIQUE INDEX " in index]
        total = len(indexes) + 3
        done = 0
        jobs = 1

        def end_step() -> None:
            nonlocal done
            done += 1
            self._tell("indexing", done, total)

        async def ask() -> None:
            nonlocal jobs
            async with self._connecting() as sampler:
                jobs = await self._count_jobs(sampler)

        async def vacuum() -> None:
            # Statistics and the pages that everybody sees: the edition is quick from the start.
            query = sql.SQL("VACUUM (ANALYZE) {}.customers").format(schema_of(rebuild.edition))
            await connection.execute(query)
            end_step()

        async def make(waiting: Iterable[str], helpers: int) -> None:
            async with self._connecting() as builder:
                await builder.execute(_PREPARE_INDEX.format(helpers).encode(), prepare=False)
                for index in waiting:
                    await builder.execute(
                        index.replace(" INDEX ", " INDEX IF NOT EXISTS ", 1).encode()
                    )
                    end_step()

        async def count_and_make(waiting: Iterable[str]) -> None:
            await count_customers(connection, rebuild)
            end_step()
            await make(waiting, 0)

        self._tell("indexing", 0, total)
        await _all([ask(), vacuum()])
        # That of the search takes as long as all others: by all there are, and they share the rest.
        await make(indexes[:1], jobs - 1)
        waiting = iter(indexes[1:])
        await _all([count_and_make(waiting), *(make(waiting, 0) for _ in range(jobs - 1))])
        await mark_as_built(connection, rebuild)
        end_step()

    async def _count_jobs(self, connection: AsyncConnection[TupleRow]) -> int:
        """One while somebody uses the database; a small edition is not worth the question."""
        if self._jobs == 1 or self._rebuild.until_position <= self._sizes.few_events:
            return self._jobs
        before = await (await connection.execute(_TRANSACTIONS)).fetchone()
        await asyncio.sleep(_SAMPLE_SECONDS)
        after = await (await connection.execute(_TRANSACTIONS)).fetchone()
        assert before is not None, "a row for each database"  # noqa: S101 - a type guard
        assert after is not None, "a row for each database"  # noqa: S101 - a type guard
        return 1 if after[0] - before[0] > _BUSY else self._jobs

    async def _catch_up(self, connection: AsyncConnection[TupleRow]) -> None:
        rebuild = self._rebuild
        keyring = Keyring(read_master_keys(self._settings))
        # Those of this version, whichever began to build it.
        await connection.execute(functions_of(rebuild.edition), prepare=False)

        def tell(position: int, head: int) -> None:
            behind = head - rebuild.until_position
            self._tell("catching up", behind - (head - position), behind)

        await follow(connection, keyring, rebuild.edition, rebuild.log_id, tell=tell)

    def _tell(self, stage: Stage, done: int, total: int) -> None:
        edition = self._rebuild.edition
        self._tell_of(Step(edition=edition, stage=stage, done=done, total=total))


async def _all(works: Iterable[Coroutine[object, object, None]]) -> None:
    """Do all of it at once; the first error ends the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end(*tasks)
