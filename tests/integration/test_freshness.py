"""Read your own writes: after any write has answered, a read of the same workspace shows it."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec
import pytest

from events.customer import CustomerDeleted, CustomerUpdated, PreviousData
from events.envelope import CustomerId, Position
from events.keys import Keyring
from events.log import PostgresLog
from events.token import Token
from query_side import queries
from query_side.freshness import Demand, Freshness, NotShownYet
from query_side.queries import ReadModel
from query_side.results import FoundCustomer
from runtime.ids import new_id
from runtime.postgres import ANSWER_SECONDS, Role, connect_as_owner, make_pool
from runtime.settings import Settings
from tests.support.builders import ACME, GLOBEX, JANE, Writer
from tests.support.projecting import Projecting, projecting
from tests.support.proxy import database_line
from tests.support.querying import Reader, reading

ANY = Demand()


def a_token(position: int) -> Token:
    """A token of this position."""
    return Token(position=Position(position), chain=b"12345678")


def an_answer(checkpoint: int, newest: int, *, parked: bool = False) -> FoundCustomer:
    return FoundCustomer(
        checkpoint=Position(checkpoint),
        newest=Position(newest),
        parked=parked,
        document=b"{}",
        version=1,
    )


class Model:
    """A read model that moves when it is told to, and counts what it is asked."""

    def __init__(self, newest: int, checkpoint: int = 0) -> None:
        self.newest = newest
        self.checkpoint = checkpoint
        self.asked = asyncio.Semaphore(0)
        self.polled = asyncio.Semaphore(0)

    async def ask(self) -> FoundCustomer:
        """Answer as of now."""
        self.asked.release()
        return an_answer(self.checkpoint, self.newest)

    async def read_checkpoint(self) -> Position:
        """Tell the checkpoint as of now."""
        self.polled.release()
        return Position(self.checkpoint)


def rung(model: Model) -> Freshness:
    """Somebody who hears every ping."""
    return Freshness(model.read_checkpoint, lambda: True)


async def test_a_read_that_is_not_behind_asks_once() -> None:
    model = Model(newest=3, checkpoint=3)
    answer, is_stale = await rung(model).read(model.ask, ANY, 1)
    assert (answer.checkpoint, is_stale) == (3, False)
    await model.asked.acquire()
    assert model.asked.locked()


async def test_a_read_waits_for_the_ping_of_what_was_newest_when_it_came() -> None:
    model = Model(newest=3)
    freshness = rung(model)
    read = asyncio.create_task(freshness.read(model.ask, ANY, 30))
    await model.asked.acquire()
    model.checkpoint, model.newest = 2, 9
    freshness.projected(Position(2))
    assert not read.done()
    model.checkpoint = 3
    freshness.projected(Position(3))
    answer, is_stale = await read
    assert (answer.checkpoint, is_stale) == (3, False)


async def test_a_ping_that_is_lost_is_made_up_for_by_looking() -> None:
    model = Model(newest=3)
    freshness = rung(model)
    async with freshness.polling():
        read = asyncio.create_task(freshness.read(model.ask, ANY, 30))
        await model.asked.acquire()
        model.checkpoint = 3
        _, is_stale = await read
    assert not is_stale


async def test_many_readers_share_one_look() -> None:
    model = Model(newest=3)
    freshness = rung(model)
    async with freshness.polling():
        reads = [asyncio.create_task(freshness.read(model.ask, ANY, 30)) for _ in range(100)]
        for _ in reads:
            await model.asked.acquire()
        model.checkpoint = 3
        assert [is_stale for _, is_stale in await asyncio.gather(*reads)] == [False] * 100
    looks = 0
    while not model.polled.locked():
        await model.polled.acquire()
        looks += 1
    assert 1 <= looks < 20


async def test_nobody_looks_while_nobody_waits() -> None:
    model = Model(newest=3, checkpoint=3)
    freshness = rung(model)
    async with freshness.polling():
        await freshness.read(model.ask, ANY, 30)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await model.polled.acquire()


async def test_past_the_wait_the_answer_is_stale() -> None:
    model = Model(newest=3)
    answer, is_stale = await rung(model).read(model.ask, ANY, 0.01)
    assert (answer.checkpoint, is_stale) == (0, True)


async def test_an_eventual_read_asks_once_and_says_what_it_is() -> None:
    model = Model(newest=3)
    _, is_stale = await rung(model).read(model.ask, Demand(eventual=True), 30)
    assert is_stale
    await model.asked.acquire()
    assert model.asked.locked()


async def test_a_read_with_a_token_waits_for_its_position_beyond_the_newest() -> None:
    model = Model(newest=3, checkpoint=3)
    freshness = rung(model)
    read = asyncio.create_task(freshness.read(model.ask, Demand(token=a_token(5)), 30))
    await model.asked.acquire()
    freshness.projected(Position(4))
    assert not read.done()
    model.checkpoint = 5
    freshness.projected(Position(5))
    answer, is_stale = await read
    assert (answer.checkpoint, is_stale) == (5, False)


async def test_an_eventual_read_with_a_token_waits_for_the_token_alone() -> None:
    model = Model(newest=9)
    freshness = rung(model)
    demand = Demand(eventual=True, token=a_token(2))
    read = asyncio.create_task(freshness.read(model.ask, demand, 30))
    await model.asked.acquire()
    model.checkpoint = 2
    freshness.projected(Position(2))
    answer, is_stale = await read
    assert (answer.checkpoint, is_stale) == (2, True)


async def test_a_token_is_enough_for_an_answer_that_is_stale_all_the_same() -> None:
    model = Model(newest=9, checkpoint=2)
    answer, is_stale = await rung(model).read(model.ask, Demand(token=a_token(2)), 0.01)
    assert (answer.checkpoint, is_stale) == (2, True)


@pytest.mark.parametrize("eventual", [True, False])
async def test_what_does_not_show_the_token_in_time_is_no_answer(eventual: bool) -> None:
    demand = Demand(eventual=eventual, token=a_token(3))
    for seconds in (0, 0.01):
        with pytest.raises(NotShownYet):
            await rung(Model(newest=3, checkpoint=2)).read(Model(3, 2).ask, demand, seconds)


async def test_a_read_model_that_went_back_is_waited_for_again() -> None:
    model = Model(newest=3)
    freshness = rung(model)
    freshness.projected(Position(1000))
    read = asyncio.create_task(freshness.read(model.ask, ANY, 30))
    await model.asked.acquire()
    await model.asked.acquire()
    model.checkpoint = 3
    freshness.projected(Position(3))
    _, is_stale = await read
    assert not is_stale


async def test_a_parked_customer_makes_the_answer_stale_without_a_wait() -> None:
    async def ask() -> FoundCustomer:
        return an_answer(3, 3, parked=True)

    _, is_stale = await rung(Model(3)).read(ask, ANY, 30)
    assert is_stale


# With Postgres.


@pytest.fixture
async def model(settings: Settings, keyring: Keyring) -> AsyncGenerator[Projecting]:
    """A projector that works when it is told to."""
    async with projecting(settings, keyring) as model_:
        yield model_


@pytest.fixture
async def hasty(settings: Settings, model: Projecting) -> AsyncGenerator[Reader]:
    """A client whose reads wait for next to nothing."""
    async with reading(msgspec.structs.replace(settings, read_wait=0.01)) as reader:
        yield reader


async def meta(reader: Reader, path: str, status: int = 200) -> dict[str, object]:
    answer = await reader.client.get(path)
    assert answer.status_code == status, answer.text
    body = msgspec.json.decode(answer.content, type=dict[str, object])
    return msgspec.convert(body["meta"], dict[str, object])


async def test_without_a_projector_reads_are_marked_stale(
    hasty: Reader, model: Projecting, postgres_log: PostgresLog, writer: Writer
) -> None:
    assert "stale" not in await meta(hasty, "/customers")
    customer = writer.a_customer()
    await postgres_log.append([writer.group(writer.event(customer))])
    for path, status in {
        "/customers": 200,
        "/customers?search=jane": 200,
        "/customers?consistency=eventual": 200,
        f"/customers/{customer}": 404,
        f"/customers/{customer}?consistency=eventual": 404,
        f"/customers/{new_id()}": 404,
    }.items():
        assert (await meta(hasty, path, status))["stale"] is True, path
    await model.catch_up()
    for path in ("/customers", "/customers?search=jane", f"/customers/{customer}"):
        assert "stale" not in await meta(hasty, path)


async def test_what_other_workspaces_write_is_not_waited_for(
    hasty: Reader, model: Projecting, postgres_log: PostgresLog, writer: Writer, keyring: Keyring
) -> None:
    await postgres_log.append([writer.creation()])
    await model.catch_up()
    other = Writer(keyring, GLOBEX)
    await postgres_log.append([other.creation()])
    assert "stale" not in await meta(hasty, "/customers")


async def test_reads_that_touch_a_parked_customer_say_stale(
    hasty: Reader, model: Projecting, postgres_log: PostgresLog, writer: Writer
) -> None:
    fine, poison = writer.a_customer(), writer.a_customer()
    await postgres_log.append([writer.group(writer.event(fine), writer.event(poison))])
    await model.catch_up()
    update = CustomerUpdated(customer=JANE, changed_fields=(), previous=PreviousData())
    unknown = msgspec.structs.replace(writer.event(poison, 2, update), schema_version=99)
    await postgres_log.append([writer.group(unknown)])
    await model.catch_up()
    assert (await meta(hasty, f"/customers/{poison}"))["stale"] is True
    assert (await meta(hasty, "/customers"))["stale"] is True
    assert "stale" not in await meta(hasty, f"/customers/{fine}")
    deleted = writer.event(poison, 3, CustomerDeleted(customer=JANE))
    await postgres_log.append([writer.group(deleted)])
    await model.catch_up()
    assert "stale" not in await meta(hasty, "/customers")


async def project(model: Projecting, is_over: Callable[[], bool]) -> None:
    while not is_over():
        await model.catch_up()


@pytest.mark.parametrize("writers", [1, 4])
async def test_every_read_shows_what_was_written_before_it(
    settings: Settings,
    model: Projecting,
    postgres_log: PostgresLog,
    keyring: Keyring,
    writers: int,
) -> None:
    are_done = asyncio.Event()

    async def write_and_read(reader: Reader) -> None:
        writer = Writer(keyring)
        for _ in range(20):
            customer = writer.a_customer()
            await postgres_log.append([writer.group(writer.event(customer))])
            assert "stale" not in await meta(reader, f"/customers/{customer}")
            listed = await reader.client.get("/customers?per_page=100")
            assert str(customer) in listed.text

    async with reading(msgspec.structs.replace(settings, read_wait=30)) as reader:
        projector = asyncio.create_task(project(model, are_done.is_set))
        await asyncio.gather(*(write_and_read(reader) for _ in range(writers)))
        are_done.set()
        await projector


async def test_reads_go_on_when_their_connections_were_cut(
    settings: Settings, model: Projecting, postgres_log: PostgresLog, writer: Writer
) -> None:
    await postgres_log.append([writer.creation()])
    await model.catch_up()
    async with reading(settings) as reader:
        await meta(reader, "/customers")
        with connect_as_owner(settings, "test owner") as owner:
            owner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'test query side'"
            )
        assert (await meta(reader, "/customers"))["total"] == 1


async def test_a_connection_that_falls_silent_keeps_nobody_waiting_longer_than_a_look_up_may(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "LOOK_UP_SECONDS", 0.5)
    async with (
        database_line(settings, words=b"get_customers(", hold="answer") as (line, through_line),
        make_pool(through_line, Role.API, "test api", size=2) as pool,
        asyncio.timeout(ANSWER_SECONDS / 2),
    ):
        model = ReadModel(pool, settings.log_id)
        gets = (model.get_customer(ACME, CustomerId(new_id())) for _ in range(3))
        found = await asyncio.gather(*gets)
        assert line.is_holding.is_set()
    assert [one.document for one in found] == [None] * 3
