"""Long polls of the feed: answered as soon as there is an event, and costing little meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import nats
import psycopg
import pytest
from msgspec.structs import replace
from psycopg.rows import TupleRow

from events.jetstream import appended_ping
from runtime.api_keys import change_scopes, list_keys, revoke_key
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import make_key, running_api, with_key
from tests.support.feed import EVENTS, Server, lose_history, page, sequences, serving
from tests.support.signals import until
from tests.support.writing import code_of, create

LONGEST = 30
NOWHERE = "nats://127.0.0.1:1"


@pytest.fixture
async def served(settings: Settings) -> AsyncGenerator[tuple[Server, httpx.AsyncClient]]:
    """An API on a port, with one connection to the database, and a client of acme."""
    narrow = replace(settings, pool_size=1, read_wait=0)
    async with serving(narrow, make_key(settings)) as both:
        yield both


async def waits(server: Server, count: int = 1) -> None:
    """Return when so many requests wait for an event."""
    await until(lambda: server.waiting() == count)


def poll(client: httpx.AsyncClient, **parameters: object) -> asyncio.Task[httpx.Response]:
    """A long poll under way."""
    asked = {name: str(one) for name, one in ({"wait": LONGEST} | parameters).items()}
    return asyncio.create_task(client.get(EVENTS, params=asked))


async def test_a_poll_is_answered_when_there_is_an_event(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    server, client = served
    first = poll(client)
    await waits(server)
    await create(client)
    body = (await first).json()
    assert sequences(body["data"]) == [1]
    second = poll(client, after=body["meta"]["next_cursor"])
    await waits(server)
    await create(client)
    assert sequences((await second).json()["data"]) == [2]


@pytest.mark.parametrize("has_nats", [True, False])
async def test_a_write_by_another_process_wakes_it_also_when_nats_is_away(
    settings: Settings, has_nats: bool
) -> None:
    used = settings if has_nats else replace(settings, nats_url=NOWHERE)
    key = make_key(settings)
    async with serving(used, key, "query") as (server, reader), running_api(used) as writer:
        polled = poll(reader, after="now")
        await waits(server)
        await create(with_key(writer, key))
        assert sequences((await polled).json()["data"]) == [1]


async def test_what_is_there_already_is_not_waited_for(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    server, client = served
    await create(client)
    events, _ = await page(client, wait=LONGEST)
    assert (sequences(events), server.waiting()) == ([1], 0)


async def test_past_its_wait_a_poll_is_answered_with_nothing_and_the_same_place(
    served: tuple[Server, httpx.AsyncClient], settings: Settings
) -> None:
    server, client = served
    await create(client)
    _, meta = await page(client)
    stranger = {"X-Api-Key": make_key(settings, "globex")}
    for wait in (0, 1):
        polled = poll(client, wait=wait, after=meta["next_cursor"])
        # Nothing of others is worth waking for.
        await client.post(
            "/api/v1/external/customers", json={"email": "a@example.com"}, headers=stranger
        )
        body = (await polled).json()
        assert (body["data"], body["meta"]["has_more"]) == ([], False)
        assert body["meta"]["next_cursor"] == meta["next_cursor"]
    assert server.waiting() == 0


async def test_nobody_who_waits_holds_a_connection_to_the_database(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    server, client = served
    polls = [poll(client) for _ in range(30)]
    await waits(server, 30)
    assert (await page(client, after="now"))[0] == []
    await create(client)
    for polled in polls:
        assert sequences((await polled).json()["data"]) == [1]


async def test_who_hangs_up_leaves_nothing_behind(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    server, client = served
    polls = [poll(client) for _ in range(5)]
    await waits(server, 5)
    for polled in polls[1:]:
        polled.cancel()
    await waits(server, 1)
    await create(client)
    assert sequences((await polls[0]).json()["data"]) == [1]


def revoked(owner: psycopg.Connection[TupleRow], key_id: Any) -> None:
    """The key is revoked."""
    revoke_key(owner, key_id)


def narrowed(owner: psycopg.Connection[TupleRow], key_id: Any) -> None:
    """The key may only write from now on."""
    change_scopes(owner, key_id, only=["customers:write"])


@pytest.mark.parametrize(("change", "status"), [(revoked, 401), (narrowed, 403)])
async def test_a_key_that_may_no_longer_read_gets_no_event(
    served: tuple[Server, httpx.AsyncClient],
    settings: Settings,
    change: Callable[[psycopg.Connection[TupleRow], Any], None],
    status: int,
) -> None:
    server, client = served
    reading = {"X-Api-Key": make_key(settings, "acme", "customers:read")}
    polled = asyncio.create_task(client.get(EVENTS, params={"wait": str(LONGEST)}, headers=reading))
    await waits(server)
    with connect_as_owner(settings, "test keys") as owner:
        (key_id,) = (key.key_id for key in list_keys(owner) if key.scopes)
        change(owner, key_id)
    answer = await polled
    assert answer.status_code == status
    assert "ratelimit-policy" in answer.headers
    assert ("ratelimit" in answer.headers) == (status == 403)


async def test_a_place_that_is_lost_meanwhile_is_told(
    served: tuple[Server, httpx.AsyncClient], settings: Settings
) -> None:
    server, client = served
    await create(client)
    polled = poll(client, after="now")
    await waits(server)
    lose_history(settings, behind=0)
    answer = await polled
    assert (answer.status_code, code_of(answer)) == (410, "lost_history")


async def test_a_process_that_stops_answers_those_who_wait(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    server, client = served
    _, meta = await page(client)
    polls = [poll(client) for _ in range(3)]
    await waits(server, 3)
    await server.end()
    for polled in polls:
        body = (await polled).json()
        assert (body["data"], body["meta"]["next_cursor"]) == ([], meta["next_cursor"])


async def test_a_ping_that_nobody_of_ours_sent_harms_nothing(
    served: tuple[Server, httpx.AsyncClient], settings: Settings, nats_url: str
) -> None:
    server, client = served
    polled = poll(client)
    await waits(server)
    stranger = await nats.connect(nats_url)
    for payload in (b"", b"nonsense", b"-1", b"9" * 5000, b"\xff"):
        await stranger.publish(appended_ping(settings.log_id), payload)
    await stranger.flush()
    await stranger.close()
    await create(client)
    assert sequences((await polled).json()["data"]) == [1]
