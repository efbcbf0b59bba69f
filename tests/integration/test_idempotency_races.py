"""An Idempotency-Key through races and crashes: one set of events, and always the same answer."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
import pytest
from msgspec.structs import replace
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key
from tests.support.dev import clean_environment
from tests.support.proxy import database_line
from tests.support.signals import until

KEY = {"Idempotency-Key": "order-4711"}
APPEND = b"log.append("


@pytest.fixture
async def owner(settings: Settings) -> AsyncGenerator[AsyncConnection[TupleRow]]:
    """A connection of the owner, who may hold what the API waits for."""
    async with await AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        yield connection


class Kept:
    """What the database holds, and who waits to append; seen from outside any transaction."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection

    async def is_one(self) -> bool:
        """Whether one event and one receipt are committed."""
        return await self.counts() == (1, 1)

    async def counts(self) -> tuple[int, int]:
        """How many events and how many receipts there are."""
        cursor = await self._connection.execute(
            "SELECT (SELECT count(*) FROM log.events), (SELECT count(*) FROM log.receipts)"
        )
        row = await cursor.fetchone()
        assert row is not None
        return row[0], row[1]

    async def waiting(self) -> list[int]:
        """The backends that append and wait for a lock, by their pids."""
        cursor = await self._connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock' AND query LIKE '%log.append(%'"
        )
        return [row[0] for row in await cursor.fetchall()]


@pytest.fixture
async def kept(settings: Settings) -> AsyncGenerator[Kept]:
    """The database as its owner sees it."""
    async with await AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        yield Kept(connection)


async def create(client: httpx.AsyncClient, **changes: object) -> httpx.Response:
    """Create a customer under the key."""
    return await client.post(CUSTOMERS, json=REFERENCE_CUSTOMER | changes, headers=KEY)


def told(answer: httpx.Response) -> Any:
    """What an answer says, but for the request it belongs to."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    del body["meta"]["request_id"]
    return body


def is_replayed(answer: httpx.Response) -> bool:
    """Whether the answer is that of an earlier request."""
    return answer.headers.get("Idempotency-Replayed") == "true"


@pytest.mark.parametrize("call", ["create", "update", "delete", "restore", "bulk", "unchanged"])
async def test_of_two_processes_with_one_key_one_writes_and_both_answer_alike(
    settings: Settings, owner: AsyncConnection[TupleRow], kept: Kept, call: str
) -> None:
    key = make_key(settings)
    async with running_api(settings) as one, running_api(settings) as other:
        clients = [with_key(client, key) for client in (one, other)]
        made = await one.post(CUSTOMERS, json={"email": "joe@example.com"})
        customer = f"{CUSTOMERS}/{made.json()['data']['id']}"
        if call == "restore":
            await one.delete(customer)
        events, _ = await kept.counts()
        method, path, body = {
            "create": ("POST", CUSTOMERS, REFERENCE_CUSTOMER),
            "update": ("PUT", customer, {"tags": ["gold"]}),
            "delete": ("DELETE", customer, None),
            "restore": ("POST", f"{customer}/restore", None),
            "bulk": ("POST", f"{CUSTOMERS}/bulk", [REFERENCE_CUSTOMER]),
            "unchanged": ("PUT", customer, {"email": "joe@example.com"}),
        }[call]

        async def is_contended() -> bool:
            return len(await kept.waiting()) == 2

        # Both are past the look for a receipt when the first of them may append.
        async with owner.transaction():
            await owner.execute("SELECT pg_advisory_xact_lock(730541, %s)", [settings.log_id])
            sent = [
                asyncio.create_task(client.request(method, path, json=body, headers=KEY))
                for client in clients
            ]
            await until(is_contended)
        first, second = await asyncio.gather(*sent)

        assert told(first) == told(second)
        assert sorted([is_replayed(first), is_replayed(second)]) == [False, True]
        assert first.headers["X-Consistency-Token"]
        assert second.headers["X-Consistency-Token"]
        assert await kept.counts() == (events + (call != "unchanged"), 1)


async def test_of_two_processes_with_one_key_and_other_payloads_one_is_refused(
    settings: Settings, owner: AsyncConnection[TupleRow], kept: Kept
) -> None:
    key = make_key(settings)
    async with running_api(settings) as one, running_api(settings) as other:

        async def is_contended() -> bool:
            return len(await kept.waiting()) == 2

        async with owner.transaction():
            await owner.execute("SELECT pg_advisory_xact_lock(730541, %s)", [settings.log_id])
            sent = [
                asyncio.create_task(create(with_key(client, key), firstName=name))
                for client, name in ((one, "Jane"), (other, "Joan"))
            ]
            await until(is_contended)
        answers = await asyncio.gather(*sent)

    assert sorted(answer.status_code for answer in answers) == [200, 422]
    assert await kept.counts() == (1, 1)


async def test_an_answer_of_the_database_that_is_lost_is_asked_for_again(
    settings: Settings, kept: Kept
) -> None:
    key = make_key(settings)

    async with (
        database_line(settings, words=APPEND, hold="answer") as (line, through_line),
        running_api(through_line) as client,
    ):
        with_key(client, key)
        sent = asyncio.create_task(create(client))
        await until(kept.is_one)
        assert not sent.done()
        line.cut_held()
        first = await sent
        again = await create(client)

    assert not is_replayed(first)
    assert is_replayed(again)
    assert told(again) == told(first)
    assert await kept.counts() == (1, 1)


async def test_a_write_that_took_too_long_to_answer_is_answered_when_it_is_sent_again(
    settings: Settings, kept: Kept
) -> None:
    key = make_key(settings)
    impatient = replace(settings, write_wait=0.2)

    async with (
        database_line(impatient, words=APPEND, hold="answer") as (line, through_line),
        running_api(through_line) as client,
    ):
        with_key(client, key)
        first = await create(client)
        await until(kept.is_one)
        again = await create(client)
        line.cut_held()

    assert first.status_code == 503
    assert is_replayed(again)
    assert told(again)["data"]["email"] == REFERENCE_CUSTOMER["email"]
    assert await kept.counts() == (1, 1)


class Api:
    """An API process, spoken to over HTTP."""

    def __init__(self, process: asyncio.subprocess.Process, client: httpx.AsyncClient) -> None:
        self.process = process
        self.client = client

    async def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def api_process(settings: Settings, key: str) -> AsyncGenerator[Api]:
    """A `customers api` of its own that takes writes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runtime.cli", "api", "--side", "command"),
        env=clean_environment()
        | {
            "CUSTOMERS_DATABASE_URL": settings.database_url,
            "CUSTOMERS_NATS_URL": settings.nats_url,
            "CUSTOMERS_MASTER_KEYS": settings.master_keys,
            "CUSTOMERS_LOG_ID": str(settings.log_id),
            "CUSTOMERS_PREPARED_STATEMENTS": str(settings.prepared_statements).lower(),
            "CUSTOMERS_PORT": "0",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        port = json.loads(await process.stdout.readline())["port"]
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            yield Api(process, with_key(client, key))
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await process.wait()


async def test_a_process_killed_between_commit_and_answer_leaves_its_answer_to_the_next(
    settings: Settings, kept: Kept
) -> None:
    key = make_key(settings)

    async with (
        database_line(settings, words=APPEND, hold="answer") as (_, through_line),
        api_process(through_line, key) as first,
    ):
        sent = asyncio.create_task(create(first.client))
        await until(kept.is_one)
        assert not sent.done()
        await first.kill()
        with pytest.raises(httpx.TransportError):
            await sent

    async with api_process(settings, key) as second:
        answer = await create(second.client)
        again = await create(second.client)

    assert is_replayed(answer)
    assert is_replayed(again)
    assert told(answer) == told(again)
    assert answer.json()["data"]["external_id"] == REFERENCE_CUSTOMER["external_id"]
    assert await kept.counts() == (1, 1)


async def test_a_process_killed_before_the_commit_leaves_nothing(
    settings: Settings, kept: Kept
) -> None:
    key = make_key(settings)
    async with (
        database_line(settings, words=APPEND, hold="ask") as (line, through_line),
        api_process(through_line, key) as first,
    ):
        sent = asyncio.create_task(create(first.client))
        await line.is_holding.wait()
        await first.kill()
        with pytest.raises(httpx.TransportError):
            await sent
    assert await kept.counts() == (0, 0)

    async with api_process(settings, key) as second:
        answer = await create(second.client)

    assert answer.status_code == 200
    assert not is_replayed(answer)
    assert await kept.counts() == (1, 1)


@pytest.mark.parametrize("then", ["goes on", "ends"])
async def test_a_crash_between_events_and_receipt_leaves_both_or_none(
    settings: Settings,
    owner: AsyncConnection[TupleRow],
    kept: Kept,
    then: Literal["goes on", "ends"],
) -> None:
    """The backend waits to insert the receipt, its events inserted, when its process is killed."""
    key = make_key(settings)

    async def is_between() -> bool:
        return len(await kept.waiting()) == 1

    async def is_over() -> bool:
        return not await kept.waiting()

    async with api_process(settings, key) as first:
        async with owner.transaction():
            await owner.execute("LOCK TABLE log.receipts IN SHARE MODE")
            sent = asyncio.create_task(create(first.client))
            await until(is_between)
            backends = await kept.waiting()
            await first.kill()
            if then == "ends":
                await owner.execute("SELECT pg_terminate_backend(%s)", backends)
                await until(is_over)
        with pytest.raises(httpx.TransportError):
            await sent
    left = (1, 1) if then == "goes on" else (0, 0)

    async def is_left() -> bool:
        return await kept.counts() == left

    await until(is_left)

    async with api_process(settings, key) as second:
        answer = await create(second.client)

    assert answer.status_code == 200
    assert is_replayed(answer) == (then == "goes on")
    assert await kept.counts() == (1, 1)
