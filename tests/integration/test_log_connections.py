"""What appends have their own connection for, and what becomes of one that falls silent."""

import asyncio

import pytest
from psycopg import AsyncConnection

from events.append import Appended
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from runtime.postgres import Role, make_pool
from runtime.processes import LOOK_UP_CONNECTIONS
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.builders import ACME, GLOBEX, Writer
from tests.support.proxy import Direction, database_line
from tests.support.signals import until


async def test_writes_that_still_look_something_up_keep_no_append_waiting(
    settings: Settings,
) -> None:
    async with (
        running_api(settings, "command") as api,
        await AsyncConnection.connect(settings.database_url, autocommit=True) as owner,
        await AsyncConnection.connect(settings.database_url, autocommit=True) as observer,
    ):
        with_key(api, make_key(settings))
        body = {"email": "jane@example.com"}
        await api.post(CUSTOMERS, json=body, headers={"Idempotency-Key": "warm"})

        async def all_wait() -> bool:
            cursor = await observer.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND wait_event_type = 'Lock'"
            )
            return await cursor.fetchone() == (LOOK_UP_CONNECTIONS,)

        async with owner.transaction():
            await owner.execute("LOCK TABLE log.receipts IN ACCESS EXCLUSIVE MODE")
            looking = [
                asyncio.create_task(
                    api.post(CUSTOMERS, json=body, headers={"Idempotency-Key": f"k-{n}"})
                )
                for n in range(LOOK_UP_CONNECTIONS + 2)
            ]
            await until(all_wait)
            answer = await api.post(CUSTOMERS, json=body)
            assert (answer.status_code, [each.done() for each in looking]) == (
                200,
                [False] * len(looking),
            )
        await asyncio.gather(*looking)


async def test_look_ups_of_many_at_once_are_few_calls_and_each_gets_its_own(
    settings: Settings, keyring: Keyring
) -> None:
    acme, globex = Writer(keyring), Writer(keyring, GLOBEX)
    async with make_pool(settings, Role.API, "test api", size=1) as pool:
        log = PostgresLog(pool, settings.log_id)
        own = [acme.a_customer() for _ in range(30)]
        foreign = globex.a_customer()
        await log.append([acme.group(acme.event(customer)) for customer in own])
        await log.append([globex.group(globex.event(foreign))])
        before = pool.get_stats()["requests_num"]
        found = await asyncio.gather(
            *(
                log.read_newest(workspace, [customer])
                for workspace in (ACME, GLOBEX)
                for customer in (*own, foreign)
            )
        )
        calls = pool.get_stats()["requests_num"] - before

    assert [set(each) for each in found[:31]] == [{customer} for customer in own] + [set()]
    assert [set(each) for each in found[31:]] == [set() for _ in own] + [{foreign}]
    assert calls <= 4


@pytest.mark.parametrize("hold", ["ask", "answer"])
async def test_a_connection_that_falls_silent_is_given_up_and_its_batch_sent_again_once(
    settings: Settings, keyring: Keyring, log_reader: LogReader, hold: Direction
) -> None:
    writer = Writer(keyring)
    async with (
        database_line(settings, words=b"log.append(", hold=hold) as (line, through_line),
        make_pool(through_line, Role.API, "test api", size=1) as pool,
    ):
        log = PostgresLog(pool, settings.log_id, answer_seconds=2)
        outcomes = await log.append([writer.creation(), writer.creation("cust-1")])
        assert line.is_holding.is_set()
        later = await log.append([writer.creation()])

    assert [type(outcome) for outcome in outcomes + later] == [Appended] * 3
    assert (await log_reader.head()).position == 3
