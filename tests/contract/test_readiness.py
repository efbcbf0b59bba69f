"""GET /health/ready: how the service does, told to everybody, and so without any number."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from runtime.lifecycle import registered
from runtime.postgres import Role, connect, connect_as_owner
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key, running_api
from tests.support.signals import until

ROLES = {"relay": Role.RELAY, "projector": Role.PROJECTOR}
FAR = 81_234
FAR_BEHIND = "JetStream stream CUSTOMERS_1_1 ends at 81234, the log at 81200"


@pytest.fixture
async def anybody(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """A client without a key."""
    async with running_api(settings) as client:
        yield client


async def ready(anybody: httpx.AsyncClient) -> dict[str, Any]:
    """What anybody is told; the process answers, whatever else is wrong."""
    answer = await anybody.get("/health/ready")
    assert answer.status_code == 200
    assert re.search("[0-9]", answer.text) is None, answer.text
    return answer.json()


@asynccontextmanager
async def a_process(
    settings: Settings, anybody: httpx.AsyncClient, kind: str, **state: object
) -> AsyncGenerator[None]:
    """A process of this kind says this of itself, and is heard."""

    @asynccontextmanager
    async def connecting() -> AsyncGenerator[AsyncConnection[TupleRow]]:
        async with await connect(settings, ROLES[kind], "test process") as connection:
            yield connection

    async def is_heard() -> bool:
        told = await anybody.get("/health/ready")
        return "none is running" not in told.json()["checks"][kind]["detail"]

    async with registered(connecting, kind, lambda: state):
        await until(is_heard)
        yield


@pytest.mark.parametrize("kind", ROLES)
async def test_who_is_missing_is_told_with_the_command_that_starts_it(
    anybody: httpx.AsyncClient, kind: str
) -> None:
    told = await ready(anybody)
    assert told["status"] == "degraded"
    assert told["checks"][kind] == {
        "ok": False,
        "detail": f"none is running: start one with `customers {kind}`",
    }


@pytest.mark.parametrize(
    ("kind", "condition", "place"),
    [
        ("relay", "publishing", "sequence"),
        ("relay", "standing by", "sequence"),
        ("projector", "catching up", "checkpoint"),
        ("projector", "live", "checkpoint"),
    ],
)
async def test_who_works_is_told_by_its_condition_and_not_by_how_far_it_is(
    settings: Settings, anybody: httpx.AsyncClient, kind: str, condition: str, place: str
) -> None:
    state = {"condition": condition, "words": FAR_BEHIND, place: FAR}
    async with a_process(settings, anybody, kind, **state):
        assert (await ready(anybody))["checks"][kind] == {"ok": True, "detail": condition}


@pytest.mark.parametrize("kind", ROLES)
@pytest.mark.parametrize("condition", ["stopped", "no connection"])
async def test_why_somebody_does_not_work_is_told_to_the_operator_only(
    settings: Settings, anybody: httpx.AsyncClient, kind: str, condition: str
) -> None:
    async with a_process(settings, anybody, kind, condition=condition, words=FAR_BEHIND):
        told = await ready(anybody)
        assert told["status"] == "degraded"
        assert told["checks"][kind] == {
            "ok": False,
            "detail": f"{condition}: `customers status` says why",
        }


async def test_an_append_that_is_not_answered_is_told_until_it_is(settings: Settings) -> None:
    async with running_api(replace(settings, write_wait=0.1)) as anybody:

        async def are_writes(ok: bool) -> bool:
            told = await ready(anybody)
            assert told["status"] == "degraded"
            return told["checks"]["writes"]["ok"] is ok

        assert await are_writes(ok=True)
        headers = {"X-Api-Key": make_key(settings)}
        with connect_as_owner(settings, "test lock") as connection:
            # Nothing is appended while the append's lock is held.
            connection.execute("SELECT pg_advisory_lock(730541, %s)", [settings.log_id])
            written = await anybody.post(CUSTOMERS, json={"email": "a@b.test"}, headers=headers)
            assert written.status_code == 503
            await until(lambda: are_writes(ok=False))
        await until(lambda: are_writes(ok=True))


async def test_nobody_without_a_key_learns_that_something_was_written(
    settings: Settings, anybody: httpx.AsyncClient
) -> None:
    async with a_process(settings, anybody, "projector", condition="live", checkpoint=0):
        before = await ready(anybody)
        for _ in range(3):
            headers = {"X-Api-Key": make_key(settings)}
            written = await anybody.post(CUSTOMERS, json={"email": "a@b.test"}, headers=headers)
            assert written.status_code == 200
        assert await ready(anybody) == before
