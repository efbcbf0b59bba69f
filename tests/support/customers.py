"""Customers that are in the log and in the read model, without the command side."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import msgspec

from events.customer import (
    CustomerData,
    CustomerDeleted,
    CustomerErased,
    CustomerEvent,
    CustomerUpdated,
    PreviousData,
)
from events.envelope import CustomerId, WorkspaceId
from events.keys import Keyring
from events.log import PostgresLog
from runtime.postgres import Role, make_pool
from runtime.settings import Settings
from tests.support.builders import Writer, created
from tests.support.projecting import Projecting, projecting

REFERENCE = CustomerData(
    email="jane@example.com",
    phone="+15550001234",
    first_name="Jane",
    last_name="Doe",
    company_name="Acme Corp",
    external_id="cust-001",
    tags=("vip",),
    custom_fields={
        "account_type": msgspec.Raw(b'"premium"'),
        "big": msgspec.Raw(b"1.00000000000000000001"),
    },
    communication_preferences={"sms": True, "email": True, "voice": False},
)
"""The customer of the reference page, and a number of many digits."""


class Customers:
    """Makes and changes customers; with each call the read model catches up."""

    def __init__(self, log: PostgresLog, keyring: Keyring, model: Projecting) -> None:
        self.log = log
        self.model = model
        self._keyring = keyring
        self._writers: dict[str, Writer] = {}
        self._versions: dict[CustomerId, int] = {}

    async def add(self, *customers: CustomerData, workspace: str = "acme") -> list[CustomerId]:
        """Make customers, the last one newest."""
        writer = self._writer(workspace)
        ids = [writer.a_customer() for _ in customers]
        for customer_id, data in zip(ids, customers, strict=True):
            self._versions[customer_id] = 1
            event = writer.event(customer_id, 1, created(data))
            await self.log.append([writer.group(event)])
        await self.model.catch_up()
        return ids

    async def add_at_once(self, *customers: CustomerData) -> list[CustomerId]:
        """Make customers of acme by one command, all in the same moment."""
        writer = self._writer("acme")
        ids = [writer.a_customer() for _ in customers]
        self._versions |= dict.fromkeys(ids, 1)
        events = (
            writer.event(customer_id, 1, created(data))
            for customer_id, data in zip(ids, customers, strict=True)
        )
        await self.log.append([writer.group(*events)])
        await self.model.catch_up()
        return ids

    async def update(self, customer_id: CustomerId, data: CustomerData) -> None:
        """Make a customer of acme another."""
        changed = CustomerUpdated(customer=data, changed_fields=("email",), previous=PreviousData())
        await self._happen(customer_id, changed)

    async def delete(self, customer_id: CustomerId, data: CustomerData) -> None:
        """Delete a customer of acme."""
        await self._happen(customer_id, CustomerDeleted(customer=data))

    async def erase(self, customer_id: CustomerId) -> None:
        """Say that a customer of acme was erased."""
        await self._happen(customer_id, CustomerErased(positions=()))

    async def _happen(self, customer_id: CustomerId, event: CustomerEvent) -> None:
        writer = self._writer("acme")
        self._versions[customer_id] += 1
        happened = writer.event(customer_id, self._versions[customer_id], event)
        await self.log.append([writer.group(happened)])
        await self.model.catch_up()

    def _writer(self, workspace: str) -> Writer:
        fresh = Writer(self._keyring, WorkspaceId(workspace))
        return self._writers.setdefault(workspace, fresh)


@asynccontextmanager
async def making_customers(settings: Settings, keyring: Keyring) -> AsyncGenerator[Customers]:
    """Makes customers, with a pool and a projector of its own."""
    async with (
        make_pool(settings, Role.API, "test log", size=2) as pool,
        projecting(settings, keyring) as model,
    ):
        yield Customers(PostgresLog(pool, settings.log_id), keyring, model)


def a_customer(number: int = 1, **fields: object) -> CustomerData:
    """A customer with an address of its own."""
    given = {"email": f"c{number}@example.com"} | fields
    return CustomerData(**given)  # pyright: ignore[reportArgumentType] - tests name the fields


async def a_list(client: httpx.AsyncClient, query: str = "") -> dict[str, object]:
    """The body of a list that is answered; `query` is what stands behind the path."""
    answer = await client.get(f"/customers{query}")
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=dict[str, object])


def ids(answer: dict[str, object]) -> list[CustomerId]:
    """The ids of a list's rows."""
    rows = msgspec.convert(answer["data"], list[dict[str, object]])
    return [CustomerId(UUID(str(row["id"]))) for row in rows]


def meta(answer: dict[str, object]) -> dict[str, object]:
    """What a list says of itself."""
    return msgspec.convert(answer["meta"], dict[str, object])
