"""Readers and writers go on through a switch: nobody is refused, and nothing goes back."""

import asyncio
import random
from collections.abc import AsyncGenerator

import httpx
import nats.errors
import psycopg
import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from events.envelope import Position
from events.erasure import forget_in_rebuilds
from events.keys import Keyring
from projections.building import Step
from projections.rebuild import Rebuilds
from projections.runners import ProjectorRunners
from runtime.postgres import Role, connect
from runtime.settings import Settings
from runtime.tasks import end
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.signals import until
from tests.support.writing import create

_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"


def no_nats() -> Client:
    raise nats.errors.ConnectionClosedError


async def nobody_hears(_: Position) -> None:
    """Whoever waits looks by itself."""


def unheard(_: Step) -> None:
    """Nobody looks on."""


@pytest.fixture
async def projectors(settings: Settings, keyring: Keyring) -> AsyncGenerator[ProjectorRunners]:
    """The projectors of a process, without NATS."""

    async def connecting() -> AsyncConnection[TupleRow]:
        return await connect(settings, Role.PROJECTOR, "test projectors")

    runners = ProjectorRunners(
        connecting, no_nats, keyring, log_id=settings.log_id, ring=nobody_hears
    )
    task = asyncio.create_task(runners.run())
    yield runners
    await end(task)


@pytest.fixture
async def service(
    settings: Settings, projectors: ProjectorRunners
) -> AsyncGenerator[httpx.AsyncClient]:
    """An API whose reads wait as long as a test may take, and who projects for it."""
    patient = replace(settings, read_wait=60, nats_url="nats://127.0.0.1:1")
    async with running_api(patient) as client:
        yield with_key(client, make_key(settings))


class Traffic:
    """Writers and readers of some customers, who remember what they were shown."""

    def __init__(self, client: httpx.AsyncClient, customers: list[str]) -> None:
        self._client = client
        self._customers = customers
        self._written = dict.fromkeys(customers, 1)
        self._total = len(customers)
        self.answers = 0
        self.wrong: list[object] = []

    async def write(self) -> None:
        """Change one customer after the other, and now and then make one."""
        number = 0
        while True:
            number += 1
            customer = random.choice(self._customers)  # noqa: S311 - a load, no secret
            answer = await self._client.patch(
                f"{CUSTOMERS}/{customer}", json={"custom_fields": {"n": number}}
            )
            self._check(answer)
            version = answer.json()["data"]["version"]
            self._written[customer] = max(self._written[customer], version)
            if number % 5 == 0:
                self._check(await self._client.post(CUSTOMERS, json={"email": "j@example.com"}))
                self._total += 1

    async def read(self) -> None:
        """Read what was written, and never less than before."""
        while True:
            customer = random.choice(self._customers)  # noqa: S311 - a load, no secret
            version, total = self._written[customer], self._total
            one = await self._client.get(f"{CUSTOMERS}/{customer}")
            self._check(one)
            if one.json()["data"]["version"] < version:
                self.wrong.append((one.json()["data"]["version"], version))
            page = await self._client.get(f"{CUSTOMERS}?per_page=1")
            self._check(page)
            if page.json()["meta"]["total"] < total:
                self.wrong.append((page.json()["meta"], total))

    async def read_eventually(self) -> None:
        """Read whatever is there at once, and never less than before."""
        seen = dict.fromkeys(self._customers, 0)
        while True:
            customer = random.choice(self._customers)  # noqa: S311 - a load, no secret
            one = await self._client.get(f"{CUSTOMERS}/{customer}?consistency=eventual")
            self._check(one, may_be_stale=True)
            version = one.json()["data"]["version"]
            if version < seen[customer]:
                self.wrong.append((version, seen[customer]))
            seen[customer] = version

    def _check(self, answer: httpx.Response, *, may_be_stale: bool = False) -> None:
        self.answers += 1
        if answer.status_code != 200 or (answer.json()["meta"].get("stale") and not may_be_stale):
            self.wrong.append((answer.status_code, answer.text))
            raise AssertionError(answer.text)


async def test_readers_and_writers_notice_neither_switch_nor_way_back_nor_drop(
    settings: Settings, service: httpx.AsyncClient, owner: Connection[TupleRow]
) -> None:
    customers = [await create(service, firstName=f"Jane {n}") for n in range(12)]
    first = (await service.get(f"{CUSTOMERS}?per_page=5&sort=created_at")).json()
    token = (await service.patch(f"{CUSTOMERS}/{customers[0]}", json={"lastName": "Doe"})).headers[
        "X-Consistency-Token"
    ]
    rebuilds = Rebuilds(settings)
    traffic = Traffic(service, customers)
    doing = [
        *(asyncio.create_task(traffic.write()) for _ in range(2)),
        *(asyncio.create_task(traffic.read()) for _ in range(2)),
        asyncio.create_task(traffic.read_eventually()),
    ]
    steps = [
        lambda: rebuilds.rebuild(1, unheard),
        rebuilds.roll_back,
        rebuilds.roll_back,
        lambda: rebuilds.drop(None),
    ]
    for step in steps:
        before = traffic.answers
        await step()
        await until(lambda before=before: traffic.answers > before + 20 or bool(traffic.wrong))
    await end(*doing)

    assert traffic.wrong == []
    assert [task for task in doing if not task.cancelled()] == []
    assert owner.execute("SELECT projections.live_edition()").fetchone() == (2,)
    cursor = first["meta"]["next_cursor"]
    query = {"per_page": 5, "sort": "created_at", "cursor": cursor}
    second = (await service.get(CUSTOMERS, params=query)).json()
    assert [one["id"] for one in first["data"] + second["data"]] == customers[:10]
    read = await service.get(f"{CUSTOMERS}/{customers[0]}", headers={"X-Consistency-Token": token})
    assert read.status_code == 200
    assert (await rebuilds.verify(1, unheard)).differences == []


async def test_who_is_erased_while_an_edition_is_built_is_in_none(
    settings: Settings, service: httpx.AsyncClient, owner: Connection[TupleRow]
) -> None:
    erased, other = await create(service), await create(service)
    rebuilds = Rebuilds(settings)

    def kill(step: Step) -> None:
        if step.stage == "indexing":
            owner.execute(_CUT, ["customers rebuild%"])

    with pytest.raises(psycopg.OperationalError):
        await rebuilds.rebuild(1, kill)
    built = "SELECT customer_id::text FROM edition_2.customers ORDER BY position"
    assert owner.execute(built).fetchall() == [(erased,), (other,)]
    gone = await service.delete(f"{CUSTOMERS}/{erased}/personal-data")
    assert gone.status_code < 300

    await rebuilds.rebuild(1, unheard)

    assert owner.execute(built).fetchall() == [(other,)]
    assert (await service.get(f"{CUSTOMERS}/{erased}")).status_code == 410
    assert (await service.get(CUSTOMERS)).json()["meta"]["total"] == 1
    again = await service.delete(f"{CUSTOMERS}/{other}/personal-data")
    assert again.status_code < 300
    for edition in (b"edition_1", b"edition_2"):
        query = b"SELECT count(*) FROM " + edition
        assert owner.execute(query + b".customers").fetchone() == (0,)
        assert owner.execute(query + b".counts").fetchone() == (0,)


@pytest.mark.parametrize("stage", ["reading", "indexing", "catching up"])
async def test_who_is_erased_leaves_an_edition_that_was_begun_and_left(
    settings: Settings, service: httpx.AsyncClient, owner: Connection[TupleRow], stage: str
) -> None:
    erased, other = await create(service), await create(service)
    rebuilds = Rebuilds(settings)

    def kill(step: Step) -> None:
        if step.stage == stage and (step.done or step.total == 0):
            owner.execute(_CUT, ["customers rebuild%"])

    with pytest.raises(psycopg.OperationalError):
        await rebuilds.rebuild(1, kill)
    for customer in (erased, other):
        owner.execute(
            "INSERT INTO edition_2.parked VALUES ('acme', %s, %s, 1, 'why', 'jane@example.com')",
            [customer, settings.log_id],
        )
    assert (await service.delete(f"{CUSTOMERS}/{erased}/personal-data")).status_code < 300
    async with await connect(settings, Role.RELAY, "test relay") as relay:
        await forget_in_rebuilds(relay)

    for table in ("customers", "parked"):
        query = f"SELECT customer_id::text FROM edition_2.{table}"  # noqa: S608 - names of ours
        assert owner.execute(query.encode()).fetchall() == [(other,)]


async def test_a_kept_edition_is_projected_until_it_is_dropped(
    settings: Settings,
    service: httpx.AsyncClient,
    projectors: ProjectorRunners,
    owner: Connection[TupleRow],
) -> None:
    rebuilds = Rebuilds(settings)
    await rebuilds.rebuild(1, unheard)
    await create(service)
    positions = "SELECT edition, position FROM projections.checkpoints ORDER BY edition"
    await until(lambda: owner.execute(positions).fetchall() == [(1, 1), (2, 1)])
    owner.execute("ALTER TABLE edition_1.customers RENAME TO away")
    await create(service)
    await until(lambda: projectors.state.condition == "stopped")
    assert "edition 1, which is kept: " in projectors.state.words
    owner.execute("ALTER TABLE edition_1.away RENAME TO customers")
    await until(lambda: owner.execute(positions).fetchall() == [(1, 2), (2, 2)])

    assert await rebuilds.drop(1) == [1]

    await create(service)
    await until(lambda: owner.execute(positions).fetchall() == [(2, 3)])
    await until(lambda: projectors.state.condition == "live")


async def test_a_missing_edition_is_waited_for_in_words(
    service: httpx.AsyncClient, projectors: ProjectorRunners, owner: Connection[TupleRow]
) -> None:
    owner.execute("UPDATE projections.editions SET live = false")
    await until(lambda: projectors.state.condition == "stopped")
    assert "customers migrate" in projectors.state.words
    owner.execute("UPDATE projections.editions SET live = true")
    await create(service)
    await until(lambda: projectors.state.checkpoint == 1)
