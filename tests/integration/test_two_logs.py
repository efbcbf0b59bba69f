"""Two logs in one database: a workspace is in one of them, so that nothing of both ever mixes."""

import asyncio

import pytest

from events.append import Appended, GroupRefused
from events.envelope import WorkspaceId
from events.errors import IN_ANOTHER_LOG, AppendFailed
from events.keys import Keyring
from events.log import PostgresLog
from tests.support.builders import ACME, GLOBEX, Writer


@pytest.fixture
def other_log(postgres_log: PostgresLog) -> PostgresLog:
    """Another log in the same database."""
    return PostgresLog(postgres_log._pool, postgres_log.log_id + 1)


async def test_a_workspace_is_in_one_log_and_others_go_on(
    postgres_log: PostgresLog, other_log: PostgresLog, keyring: Keyring
) -> None:
    acme, globex = Writer(keyring, ACME), Writer(keyring, GLOBEX)
    customer = acme.a_customer()
    await postgres_log.append([acme.group(acme.event(customer))])

    outcomes = await other_log.append(
        [
            globex.creation("cust-1"),
            acme.group(acme.event(customer, 2)),
            acme.creation("cust-1"),
            globex.creation(),
        ]
    )

    assert isinstance(outcomes[0], Appended)
    assert outcomes[1:3] == [GroupRefused(sqlstate=IN_ANOTHER_LOG)] * 2
    assert isinstance(outcomes[3], Appended)
    assert await other_log.find_reservations(ACME, ["cust-1"]) == {}
    again = await postgres_log.append([acme.group(acme.event(customer, 2))])
    assert isinstance(again[0], Appended)


def test_who_uses_the_wrong_log_is_told_what_to_do() -> None:
    assert "Set CUSTOMERS_LOG_ID to that log" in str(AppendFailed(IN_ANOTHER_LOG))


async def test_of_two_logs_only_one_begins_a_workspace(
    postgres_log: PostgresLog, other_log: PostgresLog, keyring: Keyring
) -> None:
    for number in range(20):
        writer = Writer(keyring, WorkspaceId(f"w{number}"))
        (one,), (other,) = await asyncio.gather(
            postgres_log.append([writer.creation()]), other_log.append([writer.creation()])
        )

        assert sorted(type(outcome).__name__ for outcome in (one, other)) == [
            "Appended",
            "GroupRefused",
        ]
