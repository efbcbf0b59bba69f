"""A command has one time for all it waits for; what it says past that is true."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from command_side.app import CommandSide
from command_side.appender import Appender
from command_side.commands import (
    BulkRow,
    BulkUpsert,
    CreateCustomer,
    CustomerChanges,
    DeleteCustomer,
    UpdateCustomer,
)
from command_side.deadline import Deadline
from command_side.handler import Terms, Written
from events.append import Group, Outcome, StreamEvent, VersionConflict
from events.envelope import CustomerId, Position, WorkspaceId
from events.errors import LogUnavailable
from events.keys import Keyring
from events.memory_log import MemoryLog
from runtime.settings import Settings
from tests.support.builders import Writer, an_origin, some_changes
from tests.support.interrupting import a_side
from tests.support.signals import until

ORIGIN = an_origin()
RENAMED = CustomerChanges(first_name="Joan")
SHORT = 0.1

Call: TypeAlias = Callable[[CommandSide, CustomerId], Awaitable[object]]


class SilentLog(MemoryLog):
    """A log that leaves questions open while `answers` or `appends` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.appends = asyncio.Event()
        self.answers.set()
        self.appends.set()
        self.sent = 0
        self.conflicts = 0
        """So many groups meet another writer, who leaves nothing to be found any more."""

    async def append(self, groups: list[Group]) -> list[Outcome]:
        """As on any log, once it may."""
        self.sent += 1
        await self.appends.wait()
        if self.conflicts:
            self.conflicts -= 1
            self.answers.clear()
            return [VersionConflict(stream_id=group.events[0].stream_id) for group in groups]
        return await super().append(groups)

    async def read_newest(
        self, workspace_id: WorkspaceId, stream_ids: list[CustomerId]
    ) -> dict[CustomerId, StreamEvent]:
        """As on any log, once it may."""
        await self.answers.wait()
        return await super().read_newest(workspace_id, stream_ids)


async def create(side: CommandSide) -> Written:
    """The customer whom the calls are about."""
    creation = CreateCustomer(changes=some_changes(external_id="e"))
    return await side.handlers.commands.create(creation, ORIGIN)


async def update(side: CommandSide, customer_id: CustomerId) -> object:
    """By its id."""
    return await side.handlers.commands.change(customer_id, UpdateCustomer(changes=RENAMED), ORIGIN)


async def delete(side: CommandSide, customer_id: CustomerId) -> object:
    """By its id."""
    return await side.handlers.commands.change(customer_id, DeleteCustomer(), ORIGIN)


async def external_put(side: CommandSide, _: CustomerId) -> object:
    """By the client's own id."""
    return await side.handlers.external.put("e", RENAMED, ORIGIN, Terms())


async def external_delete(side: CommandSide, _: CustomerId) -> object:
    """By the client's own id."""
    return await side.handlers.external.delete("e", ORIGIN, Terms())


async def bulk(side: CommandSide, _: CustomerId) -> object:
    """As one row."""
    row = BulkRow(index=0, pointer="/0", external_id="e", changes=RENAMED)
    return await side.handlers.bulk.upsert(BulkUpsert(rows=(row,)), ORIGIN)


async def refusals(side: CommandSide, call: Call, customer_id: CustomerId, count: int) -> list[str]:
    """What so many of these calls at once are told, none of which may hang."""
    told: list[str] = []

    async def one() -> None:
        with pytest.raises(LogUnavailable) as refused:
            await call(side, customer_id)
        told.append(str(refused.value))

    async with asyncio.timeout(30):
        await asyncio.gather(*(one() for _ in range(count)))
    return told


CALLS = pytest.mark.parametrize("call", [update, delete, external_put, external_delete, bulk])


@CALLS
async def test_whoever_cannot_look_or_waits_for_who_cannot_is_told_that_nothing_was_written(
    settings: Settings, call: Call
) -> None:
    log = SilentLog()
    async with a_side(log, settings, wait_seconds=SHORT) as side:
        made = await create(side)
        log.answers.clear()
        told = await refusals(side, call, made.customer_id, 3)
        log.answers.set()

        assert told == ["The database is too slow; nothing was written."] * 3
        assert (log.sent, (await log.head()).position) == (1, 1)
        await call(side, made.customer_id)
        assert (await log.head()).position == 2


@CALLS
async def test_deciding_again_after_a_conflict_gets_no_more_time(
    settings: Settings, call: Call
) -> None:
    log = SilentLog()
    async with a_side(log, settings, wait_seconds=SHORT) as side:
        made = await create(side)
        log.conflicts = 1
        told = await refusals(side, call, made.customer_id, 1)
        log.answers.set()

    assert told == ["The database is too slow; nothing was written."]
    assert (log.sent, (await log.head()).position) == (2, 1)


@CALLS
async def test_of_what_was_sent_nobody_says_that_nothing_was_written(
    settings: Settings, call: Call
) -> None:
    log = SilentLog()
    async with a_side(log, settings, wait_seconds=SHORT) as side:
        made = await create(side)
        log.appends.clear()
        told = await refusals(side, call, made.customer_id, 1)
        log.appends.set()

        async def is_written() -> bool:
            return (await log.head()).position == 2

        await until(is_written)

    assert told == ["The database is too slow; whether the write counts is not known yet."]


async def test_for_those_who_were_all_given_up_nothing_is_sent(keyring: Keyring) -> None:
    async def unheard(_: Position) -> None:
        """Nobody is rung."""

    log, writer = SilentLog(), Writer(keyring)
    appender = Appender(log, on_appended=unheard)
    running = asyncio.create_task(appender.run())
    await asyncio.gather(*(appender.append(writer.creation(), Deadline(30)) for _ in range(2)))
    assert log.sent == 1

    # Behind a call that was shared others are waited for, and this one's time is over by then.
    with pytest.raises(LogUnavailable, match="nothing was written"):
        await appender.append(writer.creation(), Deadline(0))
    appender.close()
    await running
    assert log.sent == 1
