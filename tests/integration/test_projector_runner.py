"""A projector keeps the read model up to date, whatever happens around it."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

import msgspec
import nats.errors
import psycopg
import pytest
from nats.aio.client import Client
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from projections.runner import ProjectorRunner
from projections.source import LARGE, LARGE_ROUNDS
from runtime.nats import NatsLine
from runtime.postgres import Role, connect
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.signals import until
from tests.support.stream import HandStream
from tests.support.subscribing import Stubborn

_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"


class Running:
    """A projector that runs, and what it has rung."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rung: list[Position] = []
        self._has_rung = asyncio.Event()
        self.runner: ProjectorRunner

    async def ring(self, position: Position) -> None:
        """Take the runner's ping."""
        self.rung.append(position)
        self._has_rung.set()

    async def reached(self, position: int) -> None:
        """Return when the runner has rung this position."""
        while not self.rung or self.rung[-1] < position:
            self._has_rung.clear()
            await self._has_rung.wait()


def no_nats() -> Client:
    raise nats.errors.ConnectionClosedError


@asynccontextmanager
async def running(
    settings: Settings,
    keyring: Keyring,
    client: Callable[[], Client] = no_nats,
    name: str = "test runner",
) -> AsyncGenerator[Running]:
    """A projector that runs while the block does."""
    running_ = Running(name)

    async def connecting() -> AsyncConnection[TupleRow]:
        return await connect(settings, Role.PROJECTOR, name)

    running_.runner = ProjectorRunner(
        connecting, client, keyring, 1, log_id=settings.log_id, ring=running_.ring
    )
    task = asyncio.create_task(running_.runner.run())
    try:
        yield running_
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def line(settings: Settings) -> AsyncGenerator[NatsLine]:
    """A line to NATS that is up."""
    connected = asyncio.Event()
    line_ = NatsLine(settings, "test runner", on_connected=connected.set)
    async with line_.kept_up():
        await connected.wait()
        yield line_


async def made_busy(projector: Running, log: PostgresLog, writer: Writer) -> int:
    """Have it follow the stream, as it does while much goes on for long; the log's position."""
    await until(lambda: projector.runner.state.condition == "live")
    for number in range(1, LARGE_ROUNDS + 1):
        await log.append([writer.creation() for _ in range(LARGE)])
        await projector.reached(number * LARGE)
    return LARGE_ROUNDS * LARGE


async def one_of(*happenings: Coroutine[object, object, None]) -> None:
    """Return when one of them is over."""
    tasks = [asyncio.create_task(happening) for happening in happenings]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def count(owner: Connection[TupleRow]) -> int:
    row = owner.execute("SELECT count(*) FROM edition_1.customers").fetchone()
    assert row is not None
    return row[0]


async def test_what_the_log_holds_is_caught_up_with(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
) -> None:
    for _ in range(5):
        await postgres_log.append([writer.creation() for _ in range(450)])
    async with running(settings, keyring) as projector:
        await projector.reached(2250)
        await until(lambda: projector.runner.state.condition == "live")
    assert count(owner) == 2250
    assert projector.rung == [1000, 2000, 2250]


@pytest.mark.parametrize("is_told", [True, False])
async def test_without_nats_the_log_is_enough(
    settings: Settings, keyring: Keyring, postgres_log: PostgresLog, writer: Writer, is_told: bool
) -> None:
    async with running(settings, keyring) as projector:
        for position in range(1, 6):
            await postgres_log.append([writer.creation()])
            if is_told:
                projector.runner.appended(Position(position))
            await projector.reached(position)


async def test_while_much_goes_on_what_the_stream_delivers_is_applied(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    line: NatsLine,
    owner: Connection[TupleRow],
) -> None:
    stream = HandStream(line.client(), keyring, settings.log_id)
    async with running(settings, keyring, line.client) as projector:
        position = await made_busy(projector, postgres_log, writer)
        await stream.make(first=position + 1)
        await until(stream.is_read)
        for _ in range(2):
            await postgres_log.append([writer.creation() for _ in range(200)])
            await stream.publish(*await log_reader.read_after(Position(position), 200))
            position += 200
            await projector.reached(position)
        # From now on little goes on, and nobody has to deliver it twice.
        while await stream.is_read():
            await postgres_log.append([writer.creation()])
            position += 1
            await projector.reached(position)
    assert count(owner) == position


async def test_what_the_stream_lacks_is_read_from_the_log(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    line: NatsLine,
    owner: Connection[TupleRow],
) -> None:
    stream = HandStream(line.client(), keyring, settings.log_id)
    async with running(settings, keyring, line.client) as projector:
        position = await made_busy(projector, postgres_log, writer)
        await stream.make(first=position + 1)
        await until(stream.is_read)
        await postgres_log.append([writer.creation() for _ in range(200)])
        events = await log_reader.read_after(Position(position), 200)
        await stream.publish(*events[:100])
        await stream.delete(position + 50)
        await stream.publish(*events[100:])
        await projector.reached(position + 200)
    assert count(owner) == position + 200


async def test_what_the_log_does_not_have_is_never_applied(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    line: NatsLine,
    owner: Connection[TupleRow],
) -> None:
    stream = HandStream(line.client(), keyring, settings.log_id)
    async with running(settings, keyring, line.client) as projector:
        position = await made_busy(projector, postgres_log, writer)
        [last] = await log_reader.read_after(Position(position - 1), 1)
        phantom = msgspec.structs.replace(
            last,
            stored=msgspec.structs.replace(
                last.stored, position=Position(position + 1), chain=bytes(32)
            ),
        )
        await stream.make(first=position)
        await until(stream.is_read)
        await stream.publish(last, phantom)
        await postgres_log.append([writer.creation() for _ in range(2)])
        await projector.reached(position + 2)
    assert count(owner) == position + 2


async def test_of_two_projectors_one_stands_by_and_takes_over(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
) -> None:
    async with (
        running(settings, keyring, name="test one") as one,
        running(settings, keyring, name="test two") as two,
    ):
        position = 0
        while "standing by" not in (one.runner.state.condition, two.runner.state.condition):
            await postgres_log.append([writer.creation()])
            position += 1
            for projector in (one, two):
                projector.runner.appended(Position(position))
            await one_of(one.reached(position), two.reached(position))
        assert sorted(one.rung + two.rung) == list(range(1, position + 1))

        is_first_active = two.runner.state.condition == "standing by"
        active, standby = (one, two) if is_first_active else (two, one)
        owner.execute(_CUT, [active.name])
        await postgres_log.append([writer.creation()])
        await one_of(active.reached(position + 1), standby.reached(position + 1))
    assert count(owner) == position + 1


async def test_a_lost_database_connection_is_made_again(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
) -> None:
    async with running(settings, keyring) as projector:
        await postgres_log.append([writer.creation()])
        await projector.reached(1)
        owner.execute(_CUT, [projector.name])
        await postgres_log.append([writer.creation()])
        await projector.reached(2)
    assert count(owner) == 2


async def test_a_database_that_is_away_at_start_is_waited_for(
    settings: Settings, keyring: Keyring, postgres_log: PostgresLog, writer: Writer
) -> None:
    is_there = asyncio.Event()

    async def connecting() -> AsyncConnection[TupleRow]:
        if not is_there.is_set():
            raise psycopg.OperationalError("connection refused")
        return await connect(settings, Role.PROJECTOR, "test runner")

    running_ = Running("test runner")
    runner = ProjectorRunner(
        connecting, no_nats, keyring, 1, log_id=settings.log_id, ring=running_.ring
    )
    task = asyncio.create_task(runner.run())
    await postgres_log.append([writer.creation()])
    await until(lambda: runner.state.condition == "no connection")
    is_there.set()
    await running_.reached(1)
    task.cancel()


async def test_a_newer_generation_is_followed(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    writer: Writer,
    line: NatsLine,
    owner: Connection[TupleRow],
) -> None:
    await postgres_log.append([writer.creation()])
    async with running(settings, keyring, line.client) as projector:
        await projector.reached(1)
        owner.execute("INSERT INTO log.generations VALUES (%s, 2, 1, 'test')", [settings.log_id])
        await postgres_log.append([writer.creation()])
        await projector.reached(2)
    query = "SELECT generation, position FROM projections.checkpoints WHERE log_id = %s AND live"
    assert owner.execute(query, [settings.log_id]).fetchone() == (2, 2)


async def test_a_read_model_of_another_history_is_left_alone(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    owner: Connection[TupleRow],
) -> None:
    await postgres_log.append([writer.creation()])
    async with running(settings, keyring) as projector:
        await projector.reached(1)
    owner.execute("UPDATE edition_1.checkpoints SET chain = 'deadbeef'")
    async with running(settings, keyring) as projector:
        await until(lambda: projector.runner.state.condition == "stopped")
        assert "another history" in projector.runner.state.words
    assert count(owner) == 1


async def test_one_that_is_cancelled_leaves_nothing_behind(
    settings: Settings,
    keyring: Keyring,
    postgres_log: PostgresLog,
    writer: Writer,
    stubborn: Stubborn,
) -> None:
    before = asyncio.all_tasks()
    async with running(settings, keyring, lambda: stubborn) as projector:
        await made_busy(projector, postgres_log, writer)
        await stubborn.asked(1)
    await until(lambda: asyncio.all_tasks() == before)
