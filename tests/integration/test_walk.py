"""Reading the log by filters, from any place, and following it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from psycopg import AsyncConnection
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import TupleRow

from events.customer import CustomerDeleted, CustomerRestored
from events.envelope import CustomerId, Position, StoredEvent, WorkspaceId
from events.errors import LostHistory, PositionBeyondEnd
from events.follower import PAGE, Begun, Follower
from events.jetstream import appended_ping
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from events.walk import LogWalk, Wanted
from runtime.nats import NatsLine
from runtime.operators.log import OpenedLog
from runtime.postgres import Role, connect, connect_as_owner
from runtime.settings import Settings
from tests.integration.test_plans_from_the_start import rows_read
from tests.support.builders import ACME, GLOBEX, JANE, Writer
from tests.support.feed import lose_history
from tests.support.signals import LIMIT_SECONDS, until

SANDBOX = WorkspaceId("acme_test")
EVERYTHING = Wanted()
HOUR_SECONDS = 3600.0


@pytest.fixture
async def connection(settings: Settings) -> AsyncGenerator[AsyncConnection[TupleRow]]:
    """The log as the command line reads it."""
    async with await connect(settings, Role.RELAY, "test walk") as connection_:
        yield connection_


async def fill(postgres_log: PostgresLog, keyring: Keyring, rounds: int = 4) -> list[CustomerId]:
    """Three workspaces whose events take turns; some customers of acme."""
    writers = [Writer(keyring, workspace) for workspace in (ACME, SANDBOX, GLOBEX)]
    customers: list[CustomerId] = []
    for _ in range(rounds):
        for writer in writers:
            customer = writer.a_customer()
            events = [
                writer.event(customer),
                writer.event(customer, 2, CustomerDeleted(customer=JANE)),
                writer.event(customer, 3, CustomerRestored(customer=JANE)),
            ]
            await postgres_log.append([writer.group(event) for event in events])
            if writer is writers[0]:
                customers.append(customer)
    return customers


def fits(event: StoredEvent, wanted: Wanted) -> bool:
    """Whether an event is wanted, said in another way than SQL."""
    return (
        wanted.workspace_id in (None, event.workspace_id)
        and wanted.customer_id in (None, event.stream_id)
        and (not wanted.types or event.type in wanted.types)
    )


async def read_all(
    walk: LogWalk, connection: AsyncConnection[TupleRow], limit: int
) -> list[Position]:
    """What is left of a walk."""
    found: list[Position] = []
    while (page := await walk.read(connection, limit)) is not None:
        assert len(page) <= limit
        found += [keyed.stored.position for keyed in page]
    return found


async def test_each_filter_finds_exactly_its_events_from_every_place(
    connection: AsyncConnection[TupleRow],
    settings: Settings,
    postgres_log: PostgresLog,
    keyring: Keyring,
) -> None:
    customers = await fill(postgres_log, keyring)
    keyed = await LogReader(connection, settings.log_id).read_after(Position(0), 99)
    log = [event.stored for event in keyed]
    for wanted in (
        Wanted(),
        Wanted(types=("CustomerDeleted",)),
        Wanted(workspace_id=ACME),
        Wanted(workspace_id=SANDBOX, types=("CustomerCreated", "CustomerRestored")),
        Wanted(customer_id=customers[1]),
        Wanted(customer_id=customers[2], workspace_id=ACME, types=("CustomerRestored",)),
        Wanted(customer_id=customers[2], workspace_id=GLOBEX),
        Wanted(workspace_id=WorkspaceId("nobody")),
        Wanted(types=("CustomerErased",)),
    ):
        expected = [event.position for event in log if fits(event, wanted)]
        # Stretches that end before, at and behind an event.
        for stretch in (1, 2, 5, 1000):
            walk = LogWalk(settings.log_id, wanted, stretch=stretch)
            assert await read_all(walk, connection, 2) == expected
            await walk.go_back(connection, 3)
            assert await read_all(walk, connection, 2) == expected[-3:]
        for first in range(1, len(log) + 2):
            walk = LogWalk(settings.log_id, wanted)
            await walk.go_before(connection, Position(first))
            assert await read_all(walk, connection, 1000) == [n for n in expected if n >= first]


async def test_a_filter_looks_at_its_own_events_and_not_at_the_log(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    [customer] = await fill(postgres_log, keyring, rounds=1)
    others = Writer(keyring, GLOBEX)
    for _ in range(8):
        await postgres_log.append([others.creation() for _ in range(500)])
    before = rows_read(settings, "log.events")
    async with await connect(settings, Role.RELAY, "test plans") as connection:
        for wanted in (Wanted(workspace_id=ACME), Wanted(customer_id=customer)):
            walk = LogWalk(settings.log_id, wanted)
            assert len(await read_all(walk, connection, 100)) == 3
            await walk.go_back(connection, 2)
            await walk.go_before(connection, Position(2))
            assert len(await read_all(walk, connection, 100)) == 2
        # The whole log is looked at by its end.
        newest = LogWalk(settings.log_id, Wanted())
        await newest.go_back(connection, 10)
        assert len(await read_all(newest, connection, 100)) == 10
    # Closed, a connection has told all that it read.
    assert 0 < rows_read(settings, "log.events") - before < 150


def a_follower(
    settings: Settings, told: list[str], wanted: Wanted = EVERYTHING, **more: float
) -> Follower:
    """A follower of everything, or of what is wanted."""
    return Follower(
        lambda: connect(settings, Role.RELAY, "test follower"),
        settings.log_id,
        wanted,
        told.append,
        **more,
    )


async def positions(follower: Follower, number: int, found: list[Position]) -> None:
    """Find the first positions that a follower of all that comes from the beginning delivers."""
    async with aclosing(follower.pages(first=Position(1), follow=True)) as pages:
        async for page in pages:
            found += [keyed.stored.position for keyed in page]
            if len(found) >= number:
                break


async def test_a_follower_that_is_woken_does_not_wait_for_its_next_look(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    follower = a_follower(settings, [], poll_seconds=HOUR_SECONDS)
    found: list[Position] = []
    following = asyncio.create_task(positions(follower, 1, found))
    await postgres_log.append([writer.creation()])

    def woken() -> bool:
        follower.wake()
        return following.done()

    await until(woken)
    await following
    assert found == [1]


async def test_the_command_line_is_rung_by_whoever_appends(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    line = NatsLine(settings, "test appends")
    command_line = OpenedLog(settings).follower(
        EVERYTHING, [].append, hears=True, poll_seconds=HOUR_SECONDS
    )
    async with line.kept_up(), command_line as follower:
        found: list[Position] = []
        following = asyncio.create_task(positions(follower, 5, found))
        # One may be there when it begins, and NATS rings for one when it comes: not for five.
        for position in range(1, 6):
            await postgres_log.append([writer.creation()])

            async def is_shown(position: int = position) -> bool:
                await line.ping(appended_ping(settings.log_id), b"1")
                return position in found

            await until(is_shown)
        await following


async def test_whoever_asks_is_told_the_first_position(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    live, sandbox = Writer(keyring), Writer(keyring, SANDBOX)
    for writer in (live, sandbox, live, sandbox, live):
        await postgres_log.append([writer.creation()])
    of_sandbox = Wanted(workspace_id=SANDBOX)
    for wanted, first, newest, expected in (
        (Wanted(), None, 2, 4),
        (Wanted(), None, 9, 1),
        (Wanted(), None, 0, 6),
        (of_sandbox, None, 1, 4),
        (of_sandbox, None, 2, 2),
        (Wanted(workspace_id=GLOBEX), None, 2, 6),
        (Wanted(), Position(3), 0, 3),
    ):
        told: list[Begun] = []
        follower = a_follower(settings, [], wanted)
        pages = follower.pages(first=first, newest=newest, follow=False, begun=told.append)
        shown = [keyed.stored.position async for page in pages for keyed in page]
        assert told == [Begun(first=Position(expected), last=Position(5), events=len(shown))]
        assert shown[:1] in ([], [expected])


async def test_without_following_it_ends_where_the_log_ends(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    end = PAGE + 3
    await postgres_log.append([writer.creation() for _ in range(end)])
    found: list[Position] = []
    async for page in a_follower(settings, []).pages(first=Position(2), follow=False):
        # What comes while a page is looked at is not shown.
        await postgres_log.append([writer.creation()])
        found += [keyed.stored.position for keyed in page]
    assert found == list(range(2, end + 1))


async def test_a_position_behind_the_next_one_is_refused(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    await postgres_log.append([Writer(keyring).creation()])

    with pytest.raises(PositionBeyondEnd, match="no position 3 yet: the log ends at 1"):
        await anext(a_follower(settings, []).pages(first=Position(3), follow=True))


def hang_up(settings: Settings, *statements: str) -> None:
    """Break the follower's connection, after these statements of the owner."""
    with connect_as_owner(settings, "test owner") as owner:
        for statement in statements:
            owner.execute(statement.encode())
        owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'test follower'"
        )


async def test_a_lost_connection_is_told_and_nothing_is_skipped_or_repeated(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    told: list[str] = []
    await postgres_log.append([writer.creation() for _ in range(2)])
    async with aclosing(a_follower(settings, told).pages(newest=1, follow=True)) as pages:
        assert [keyed.stored.position for keyed in await anext(pages)] == [2]
        hang_up(settings)
        await postgres_log.append([writer.creation() for _ in range(2)])
        assert [keyed.stored.position for keyed in await anext(pages)] == [3, 4]
    assert [words.partition(" (")[0] for words in told] == ["Postgres is away", "Postgres is back."]


async def test_a_connection_that_fails_at_once_is_closed_before_the_next_try(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    made: list[AsyncConnection[TupleRow]] = []
    with connect_as_owner(settings, "test lock") as locker:

        async def connect_next() -> AsyncConnection[TupleRow]:
            connection = await connect(settings, Role.RELAY, "test follower")
            made.append(connection)
            if len(made) == 2:
                # The first statement of this one fails, and leaves it open.
                locker.execute("BEGIN")
                locker.execute("LOCK TABLE log.events")
                await connection.execute("SET lock_timeout = 1")
            if len(made) == 3:
                locker.execute("COMMIT")
            return connection

        await postgres_log.append([writer.creation()])
        follower = Follower(connect_next, settings.log_id, Wanted(), [].append)
        async with aclosing(follower.pages(newest=1, follow=True)) as pages:
            await anext(pages)
            hang_up(settings)
            await postgres_log.append([writer.creation()])
            assert [keyed.stored.position for keyed in await anext(pages)] == [2]
            assert [connection.closed for connection in made] == [True, True, False]


@pytest.mark.parametrize("grown", [3, 8])
@pytest.mark.parametrize("is_cut", [True, False])
async def test_a_restored_log_is_noticed_also_where_only_unwanted_events_were_looked_at(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring, is_cut: bool, grown: int
) -> None:
    writer = Writer(keyring)
    customer = writer.a_customer()
    for version in range(1, 10):
        change = CustomerDeleted if version % 2 == 0 else CustomerRestored
        event = None if version == 1 else change(customer=JANE)
        await postgres_log.append([writer.group(writer.event(customer, version, event))])
    wanted = Wanted(types=("CustomerCreated",))
    follower = a_follower(settings, [], wanted)
    async with aclosing(follower.pages(first=Position(1), follow=True)) as pages:
        assert [keyed.stored.position for keyed in await anext(pages)] == [1]
        lose_history(settings, 3)
        if is_cut:
            hang_up(settings)
        await postgres_log.append([writer.creation() for _ in range(grown)])
        with pytest.raises(LostHistory, match=r"The log does not .* up to position 9:"):
            async with asyncio.timeout(LIMIT_SECONDS):
                await anext(pages)


async def test_a_database_that_is_half_restored_is_waited_for(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    told: list[str] = []
    await postgres_log.append([writer.creation()])
    follower = a_follower(settings, told)
    async with aclosing(follower.pages(first=Position(1), follow=True)) as pages:
        await anext(pages)
        with connect_as_owner(settings, "test owner") as owner:
            owner.execute("ALTER SCHEMA log RENAME TO half")
            following = asyncio.ensure_future(anext(pages))
            await until(lambda: bool(told) or following.done())
            owner.execute("ALTER SCHEMA half RENAME TO log")
        await postgres_log.append([writer.creation()])
        assert [keyed.stored.position for keyed in await following] == [2]
    away, back = told
    assert away.startswith('The log cannot be read (relation "log.events" does not exist); going')
    assert back == "The log can be read again."


async def test_a_log_that_can_never_be_read_is_no_outage(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    await postgres_log.append([Writer(keyring).creation()])
    with connect_as_owner(settings, "test owner") as owner:
        owner.execute("REVOKE SELECT ON keyring.data_keys FROM customers_relay")
    with pytest.raises(InsufficientPrivilege):
        await anext(a_follower(settings, []).pages(first=Position(1), follow=True))


async def test_a_log_that_was_restored_meanwhile_is_not_followed_any_further(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    await postgres_log.append([writer.creation() for _ in range(2)])
    async with aclosing(a_follower(settings, []).pages(newest=1, follow=True)) as pages:
        await anext(pages)
        hang_up(
            settings,
            "ALTER TABLE log.events DISABLE TRIGGER events_refuse_change",
            "DELETE FROM log.events WHERE position = 2",
            "ALTER TABLE log.events ENABLE ALWAYS TRIGGER events_refuse_change",
        )
        await postgres_log.append([writer.creation() for _ in range(2)])
        with pytest.raises(LostHistory, match=r"The log does not .* up to position 2:"):
            await anext(pages)
