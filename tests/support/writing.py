"""Writes over HTTP or to the log, and what a test wants to know of their answers."""

import asyncio
from typing import Any
from uuid import UUID

import httpx

from events.append import Appended, Group
from events.customer import CustomerErased
from events.envelope import CustomerId, Position
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from events.token import Token, Tokens
from runtime.postgres import Role, make_pool
from runtime.sealing import Sealer
from runtime.settings import Settings, read_master_keys
from tests.support.api import CUSTOMERS
from tests.support.builders import ACME, Writer

NOBODY = f"{CUSTOMERS}/01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"
JSON = {"Content-Type": "application/json"}


async def create(api: httpx.AsyncClient, **fields: object) -> str:
    """Create a customer; its id."""
    answer = await api.post(CUSTOMERS, json={"email": "jane@example.com"} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["id"]


async def bulk(api: httpx.AsyncClient, *rows: object, **headers: str) -> Any:
    """The `data` of a bulk call that was processed."""
    answer = await api.post(f"{CUSTOMERS}/bulk", json=list(rows), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def a_deleted_customer(api: httpx.AsyncClient, **fields: object) -> str:
    """Create a customer and delete it; its id."""
    customer_id = await create(api, **fields)
    assert (await api.delete(f"{CUSTOMERS}/{customer_id}")).status_code == 200
    return customer_id


def write(settings: Settings, *groups: Group) -> None:
    """Append groups to the log, where no event loop runs."""

    async def append() -> None:
        async with make_pool(settings, Role.API, "test write", size=1) as pool:
            outcomes = await PostgresLog(pool, settings.log_id).append(list(groups))
        assert all(isinstance(outcome, Appended) for outcome in outcomes)

    asyncio.run(append())


async def an_erased_customer(postgres_log: PostgresLog, keyring: Keyring) -> str:
    """A customer that was created and then erased; its id."""
    writer = Writer(keyring)
    customer_id = writer.a_customer()
    created, erased = writer.event(customer_id), CustomerErased(positions=(1,))
    outcomes = await postgres_log.append(
        [writer.group(created), writer.group(writer.event(customer_id, 2, erased))]
    )
    assert all(isinstance(outcome, Appended) for outcome in outcomes)
    return str(customer_id)


async def erase(
    postgres_log: PostgresLog, log_reader: LogReader, keyring: Keyring, customer_id: str
) -> None:
    """Erase a customer that the API made."""
    erased = CustomerId(UUID(customer_id))
    events = await log_reader.read_after(Position(0), 1000)
    version = sum(keyed.stored.stream_id == erased for keyed in events) + 1
    writer = Writer(keyring)
    writer.adopt(erased)
    event = writer.event(erased, version, CustomerErased(positions=(1,)))
    (outcome,) = await postgres_log.append([writer.group(event)])
    assert isinstance(outcome, Appended)


def errors(answer: httpx.Response) -> list[tuple[str, str, str | None]]:
    """Field, code and pointer of every error of an answer."""
    return [(error["field"], error["code"], error["pointer"]) for error in answer.json()["errors"]]


def row_errors(row: Any) -> list[tuple[str, str, str | None]]:
    """Field, code and pointer of every error of a row of a bulk answer."""
    return [(error["field"], error["code"], error["pointer"]) for error in row["errors"]]


def code_of(answer: httpx.Response) -> str:
    """Which problem an answer tells of."""
    return answer.json()["type"].removeprefix("/problems/")


def token_of(settings: Settings, answer: httpx.Response) -> Token:
    """The place that an answer's consistency token names."""
    tokens = Tokens(Sealer(read_master_keys(settings)), settings.log_id)
    token = tokens.read(ACME, answer.headers["X-Consistency-Token"])
    assert token is not None
    return token
