"""What a client sees while a part of the service is away, and after it is back."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager

import httpx
import pytest

from tests.support.command import Command
from tests.support.dev import Dev, a_place, running_dev
from tests.support.signals import until

pytestmark = pytest.mark.timeout(180)


@contextmanager
def stopped(pid: int) -> Generator[None]:
    """A process that does not move while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def create(dev: Dev, name: str) -> str:
    """Create a customer; its id."""
    answer = dev.api.post("/customers", json={"email": f"{name}@example.com", "firstName": name})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["id"]


def write(dev: Dev) -> httpx.Response:
    """Some write, whatever becomes of it."""
    return dev.api.post("/customers", json={"email": "a@b.test"}, timeout=60)


async def at_once(*calls: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """The answers to calls that wait side by side."""
    return await asyncio.gather(*(asyncio.to_thread(call) for call in calls))


def listed(dev: Dev) -> list[str]:
    """The ids of the newest customers, fresh."""
    answer = dev.api.get("/customers?per_page=100")
    assert answer.status_code == 200, answer.text
    assert "stale" not in answer.json()["meta"]
    return [customer["id"] for customer in answer.json()["data"]]


@pytest.fixture(scope="module")
def dev() -> Generator[Dev]:
    """One running service for all these tests."""
    # Longer than a busy machine needs, not longer than a test may wait for what does not come.
    waits = {"CUSTOMERS_READ_WAIT": "4", "CUSTOMERS_WRITE_WAIT": "5"}
    with a_place() as place, running_dev(place, **waits) as started:
        yield started


def test_a_read_right_after_a_write_shows_it_every_time(dev: Dev) -> None:
    for n in range(60):
        customer_id = create(dev, f"fresh{n}")
        assert listed(dev)[0] == customer_id
        renamed = dev.api.put(f"/customers/{customer_id}", json={"lastName": f"Number {n}"})
        got = dev.api.get(f"/customers/{customer_id}")
        assert got.json()["data"] == renamed.json()["data"]
        assert got.headers["etag"] == '"2"'
        dev.api.delete(f"/customers/{customer_id}")
        assert dev.api.get(f"/customers/{customer_id}").status_code == 404
        assert customer_id not in listed(dev)


def test_with_nats_away_writes_and_fresh_reads_go_on(dev: Dev) -> None:
    with stopped(dev.pid_now("nats")):
        for n in range(5):
            customer_id = create(dev, f"quiet{n}")
            assert listed(dev)[0] == customer_id


async def test_after_nats_was_killed_everything_is_published(dev: Dev) -> None:
    os.kill(dev.pid_now("nats"), signal.SIGKILL)
    customer_id = create(dev, "killed")
    assert listed(dev)[0] == customer_id

    await until(lambda: dev.status()["lag_events"] == 0 and dev.status()["problems"] == [])

    status = dev.status()
    assert status["log_head"] == status["stream_sequence"] == status["checkpoint"]


async def test_with_the_projector_stopped_reads_are_marked_stale(dev: Dev) -> None:
    with stopped(dev.pid_now("projector")):
        customer_id = create(dev, "unseen")
        got, page = await at_once(
            lambda: dev.api.get(f"/customers/{customer_id}"), lambda: dev.api.get("/customers")
        )
        eventual = dev.api.get("/customers?consistency=eventual")

        assert got.status_code == 404
        assert got.json()["meta"]["stale"] is True
        assert page.status_code == 200
        assert page.json()["meta"]["stale"] is True
        assert eventual.json()["meta"]["stale"] is True
    assert dev.api.get(f"/customers/{customer_id}").json()["data"]["first_name"] == "unseen"
    assert listed(dev)[0] == customer_id


async def test_without_a_database_answers_are_503_in_words_and_it_recovers(dev: Dev) -> None:
    before = create(dev, "before")
    # The supervisor would start it again within a second: it has to hold still too.
    with stopped(dev.process.pid):
        os.kill(dev.pid_now("postgres"), signal.SIGKILL)
        # Its sessions outlive it for a moment, and what they commit counts.
        await until(lambda: write(dev).status_code == 503, 60)
        await until(lambda: dev.api.get("/customers", timeout=60).status_code == 503, 60)
        *answers, ready = await at_once(
            lambda: write(dev),
            lambda: dev.api.get(f"/customers/{before}", timeout=60),
            lambda: dev.api.get("/customers", timeout=60),
            lambda: dev.api.get(f"{dev.said['url']}/health/ready", timeout=60),
        )

    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
        assert answer.json()["success"] is False
        assert "database" in answer.json()["message"].lower()
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"]["ok"] is False
    await until(lambda: dev.api.get("/customers", timeout=60).status_code == 200, 60)
    assert create(dev, "after") == listed(dev)[0]
    assert before in listed(dev)
    await until(lambda: dev.status()["problems"] == [], 60)


async def test_who_follows_the_log_goes_on_after_the_database_was_killed(dev: Dev) -> None:
    options = ("events", "tail", "--follow", "--lines", "1", "--json")
    async with Command(place=dev.place).running(*options) as tail:

        async def shown() -> str:
            return json.loads(await tail.line())["event"]["subject"]

        before = create(dev, "followed")
        while await shown() != before:
            pass
        os.kill(dev.pid_now("postgres"), signal.SIGKILL)
        assert "Postgres is away" in await tail.word()
        assert "Postgres is back." in await tail.word()
        await until(lambda: dev.api.get("/customers", timeout=60).status_code == 200, 60)
        after = create(dev, "again")
        assert await shown() == after
        ended = await tail.stop()
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    await until(lambda: dev.status()["problems"] == [], 60)


async def test_killed_processes_come_back_and_nothing_is_lost(dev: Dev) -> None:
    for name in ("relay", "projector", "api"):
        os.kill(dev.pid_now(name), signal.SIGKILL)

        def is_back() -> bool:
            try:
                return dev.api.get("/customers?per_page=1").status_code == 200
            except httpx.TransportError:
                return False

        await until(is_back, 60)
        customer_id = create(dev, name)
        # Until a projector is back, reads say that they are stale.
        await until(lambda: "stale" not in dev.api.get("/customers").json()["meta"], 60)
        assert listed(dev)[0] == customer_id
    await until(lambda: dev.status()["problems"] == [], 60)
    status = dev.status()
    assert status["log_head"] == status["stream_sequence"] == status["checkpoint"]
