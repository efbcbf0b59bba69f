"""What the API asks the log beside customers: places, erasures, secrets, old receipts."""

from collections.abc import AsyncGenerator
from typing import LiteralString

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.append import Appended
from events.append_call import APPEND, parameters_of
from events.customer import CustomerErased
from events.envelope import CustomerId, StreamVersion
from events.keys import Keyring
from events.log import PostgresLog
from events.receipts import ReceiptHasher
from runtime.ids import new_id
from runtime.postgres import Role, connect
from runtime.settings import Settings
from tests.support.api import running_api
from tests.support.builders import ACME, GLOBEX, Writer
from tests.support.signals import until


@pytest.fixture
async def api(settings: Settings) -> AsyncGenerator[AsyncConnection[TupleRow]]:
    """A connection with the rights of an API process."""
    async with await connect(settings, Role.API, "test api") as connection:
        yield connection


@pytest.fixture
async def owner(settings: Settings) -> AsyncGenerator[AsyncConnection[TupleRow]]:
    """A connection of the owner, who may prepare what no process may."""
    async with await AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        yield connection


async def ask(
    connection: AsyncConnection[TupleRow], query: LiteralString, *parameters: object
) -> TupleRow:
    """The one row of an answer."""
    row = await (await connection.execute(query, parameters)).fetchone()
    assert row is not None
    return row


async def test_a_place_is_known_by_the_first_bytes_of_the_chain_there(
    settings: Settings, api: AsyncConnection[TupleRow], postgres_log: PostgresLog, writer: Writer
) -> None:
    query = "SELECT log.read_place(%s, %s)"
    assert await ask(api, query, settings.log_id, 1) == (None,)

    outcomes = await postgres_log.append([writer.creation(), writer.creation()])

    chains = [outcome.chain[:8] for outcome in outcomes if isinstance(outcome, Appended)]
    assert await ask(api, query, settings.log_id, 1) == (chains[0],)
    assert await ask(api, query, settings.log_id, 2) == (chains[1],)
    assert await ask(api, query, settings.log_id, 3) == (None,)
    assert await ask(api, query, settings.log_id + 1, 1) == (None,)


async def test_only_its_own_workspace_learns_that_a_customer_was_erased(
    owner: AsyncConnection[TupleRow], postgres_log: PostgresLog, writer: Writer
) -> None:
    query = "SELECT log.was_erased(%s, %s)"
    customer, other = writer.a_customer(), writer.a_customer()
    await postgres_log.append([writer.group(writer.event(customer), writer.event(other))])
    assert await ask(owner, query, ACME, customer) == (False,)

    erasure = writer.event(customer, 2, CustomerErased(positions=(1,)))
    await postgres_log.append([writer.group(erasure)])

    assert await ask(owner, query, ACME, customer) == (True,)
    assert await ask(owner, query, GLOBEX, customer) == (False,)
    assert await ask(owner, query, ACME, other) == (False,)
    assert await ask(owner, query, ACME, new_id()) == (False,)


async def test_a_key_that_is_gone_is_an_erasure_only_when_the_log_says_so(
    owner: AsyncConnection[TupleRow], postgres_log: PostgresLog, writer: Writer
) -> None:
    erased, lost = writer.a_customer(), writer.a_customer()
    await postgres_log.append([writer.group(writer.event(erased), writer.event(lost))])
    erasure = writer.event(erased, 2, CustomerErased(positions=(1,)))
    await postgres_log.append([writer.group(erasure)])
    await owner.execute("DELETE FROM keyring.data_keys")

    async def read(customer: CustomerId) -> tuple[bool, bool]:
        event = await postgres_log.read_at_version(ACME, customer, StreamVersion(1))
        assert event is not None
        return event.wrapped_key is None, event.erased

    assert await read(erased) == (True, True)
    assert await read(lost) == (True, False)


LOOK_UPS: dict[str, tuple[LiteralString, int]] = {
    "newest": ("SELECT FROM log.read_newest('acme', ARRAY[%(customer)s]::uuid[])", 2),
    "version": ("SELECT FROM log.read_at_version('acme', %(customer)s, 1)", 3),
    "erased": ("SELECT log.was_erased('acme', %(customer)s)", 1),
    "place": ("SELECT log.read_place(%(log_id)s, 7)", 1),
}


@pytest.mark.parametrize("name", LOOK_UPS)
async def test_a_look_up_planned_on_an_empty_log_scans_no_full_one(
    settings: Settings, owner: AsyncConnection[TupleRow], writer: Writer, name: str
) -> None:
    query, most = LOOK_UPS[name]
    customer = writer.a_customer()
    asked = {"customer": customer, "log_id": settings.log_id}
    for _ in range(10):
        await owner.execute(query, asked)
    # By this very session, because another one's readings may be counted at any later moment.
    groups = [writer.group(writer.event(customer)), *(writer.creation() for _ in range(400))]
    await owner.execute(APPEND, parameters_of(settings.log_id, groups))
    before = await events_read(owner, settings)
    await owner.execute(query, asked)

    assert 0 < await events_read(owner, settings) - before <= most


async def events_read(session: AsyncConnection[TupleRow], settings: Settings) -> int:
    """How many rows of the log were looked at, once this session's own are counted."""
    await session.execute("SELECT pg_stat_force_next_flush()")
    await session.execute("SELECT 1")
    async with await AsyncConnection.connect(settings.database_url, autocommit=True) as owner:
        query = (
            "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_all_tables"
            " WHERE relid = 'log.events'::regclass"
        )
        return int((await ask(owner, query))[0])


async def test_a_secret_is_stored_wrapped_and_once(
    settings: Settings,
    owner: AsyncConnection[TupleRow],
    postgres_log: PostgresLog,
    keyring: Keyring,
) -> None:
    hashed = await ReceiptHasher(postgres_log, keyring).hash("key", b"a")
    row = await ask(owner, "SELECT log_id, name, master_key_id, wrapped FROM keyring.secrets")

    assert await ReceiptHasher(postgres_log, keyring).hash("key", b"a") == hashed
    assert row == await ask(
        owner, "SELECT log_id, name, master_key_id, wrapped FROM keyring.secrets"
    )
    assert row[:3] == (settings.log_id, "receipts", "test")
    other = PostgresLog(postgres_log._pool, settings.log_id + 1)
    assert await ReceiptHasher(other, keyring).hash("key", b"a") != hashed


async def test_receipts_are_forgotten_by_age_some_thousand_at_a_time(
    owner: AsyncConnection[TupleRow], postgres_log: PostgresLog, settings: Settings
) -> None:
    for hours, count in ((23, 3), (25, 7), (49, 6000)):
        await make_receipts(owner, settings.log_id, hours=hours, count=count)
    await make_receipts(owner, settings.log_id + 1, hours=900, count=1)

    assert [await postgres_log.prune_receipts(2) for _ in range(3)] == [5000, 1000, 0]
    assert [await postgres_log.prune_receipts(0) for _ in range(2)] == [7, 0]
    assert await ask(owner, "SELECT count(*) FROM log.receipts") == (4,)


async def test_one_process_at_a_time_forgets_receipts(
    owner: AsyncConnection[TupleRow],
    api: AsyncConnection[TupleRow],
    postgres_log: PostgresLog,
    settings: Settings,
) -> None:
    await make_receipts(owner, settings.log_id, hours=100, count=2)
    async with api.transaction():
        await api.execute("SELECT log.prune_receipts(%s, 2)", [settings.log_id])
        assert await postgres_log.prune_receipts(2) == 0

    assert await ask(owner, "SELECT count(*) FROM log.receipts") == (0,)


async def test_an_api_process_forgets_old_receipts_by_itself(
    owner: AsyncConnection[TupleRow], settings: Settings
) -> None:
    await make_receipts(owner, settings.log_id, hours=47, count=1)
    await make_receipts(owner, settings.log_id, hours=49, count=6000)

    async def are_gone() -> bool:
        return await ask(owner, "SELECT count(*) FROM log.receipts") == (1,)

    async with running_api(settings, side="command"):
        await until(are_gone)


async def make_receipts(
    owner: AsyncConnection[TupleRow], log_id: int, *, hours: int, count: int
) -> None:
    """Receipts of so many hours ago."""
    await owner.execute(
        "INSERT INTO log.receipts SELECT %s, 'acme', uuid_send(gen_random_uuid()), '',"
        " gen_random_uuid(), '{}', clock_timestamp() - make_interval(hours => %s)"
        " FROM generate_series(1, %s)",
        [log_id, hours, count],
    )
