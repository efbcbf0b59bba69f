"""`GET /events/stream`: the feed as server-sent events, for as long as its reader may read."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator

import httpx
import msgspec
import pytest
from jsonschema import Draft7Validator
from msgspec.structs import replace

from events.keys import Keyring
from events.log import PostgresLog
from runtime.api_keys import change_scopes, list_keys, revoke_key
from runtime.documents import events_document
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key
from tests.support.builders import GLOBEX, Writer
from tests.support.feed import (
    EVENTS,
    STREAM,
    Server,
    lose_history,
    page,
    serving,
    streaming,
    walk,
)
from tests.support.signals import LIMIT_SECONDS, until
from tests.support.writing import create, errors


@pytest.fixture
async def served(settings: Settings) -> AsyncGenerator[tuple[Server, httpx.AsyncClient]]:
    """An API on a port, with one connection to the database, and a client of acme."""
    narrow = replace(settings, pool_size=1, read_wait=0)
    async with serving(narrow, make_key(settings)) as both:
        yield both


async def test_it_sends_what_there_is_and_then_what_happens(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    server, client = served
    for _ in range(2):
        await create(client)
    async with streaming(client) as source:
        sent = await source.take(2)
        await until(lambda: server.waiting() == 1)
        await create(client)
        sent += await source.take(1)
        assert source.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert source.answer.headers["x-accel-buffering"] == "no"
        assert source.answer.headers["cache-control"] == "no-store"
        assert source.retry == 1000
    assert [one.data for one in sent] == await walk(client)
    assert {one.event for one in sent} == {"CustomerCreated"}
    for number, one in enumerate(sent, 1):
        assert (await page(client, limit=number))[1]["next_cursor"] == one.id


async def test_before_the_first_event_it_says_where_it_is(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    _, client = served
    await create(client)
    async with streaming(client, "?after=now") as source:
        await source.begin()
        place = source.last_id
    await create(client)
    async with streaming(client, "?after=now", Last_Event_ID=place) as source:
        assert (await source.take(1))[0].data["sequence"].endswith("2")


async def test_who_comes_back_goes_on_behind_the_last_event_whatever_the_query_says(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    _, client = served
    for _ in range(4):
        await create(client)
    async with streaming(client) as source:
        first, second = await source.take(2)
    for query in ("", f"?after={first.id}", "?after=now", "?after=nonsense"):
        async with streaming(client, query, Last_Event_ID=second.id or "") as source:
            assert [one.data["sequence"][-1] for one in await source.take(2)] == ["3", "4"]
    async with streaming(client, f"?after={first.id}", Last_Event_ID="") as source:
        assert [one.data["sequence"][-1] for one in await source.take(3)] == ["2", "3", "4"]


async def test_what_is_no_event_id_is_refused(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    _, client = served
    for wrong in ("x", "now", "0"):
        answer = await client.get(STREAM, headers={"Last-Event-ID": wrong})
        assert answer.status_code == 400
        assert errors(answer) == [("Last-Event-ID", "invalid_cursor", None)]


async def test_what_is_ignored_is_told_in_a_comment(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    _, client = served
    async with streaming(client, "?limit=3&wait=4") as source:
        await source.begin()
        assert source.comments == [
            "limit is no parameter of this call and was ignored.",
            "wait is no parameter of this call and was ignored.",
        ]


async def test_many_events_come_page_by_page_each_once_and_in_order(
    served: tuple[Server, httpx.AsyncClient], postgres_log: PostgresLog, keyring: Keyring
) -> None:
    _, client = served
    mine, theirs = Writer(keyring), Writer(keyring, GLOBEX)
    for _ in range(5):
        await postgres_log.append(
            [writer.creation() for _ in range(100) for writer in (mine, theirs)]
        )
    async with streaming(client) as source:
        sent = await source.take(500)
        await postgres_log.append([mine.creation()])
        sent += await source.take(1)
    assert [int(one.data["sequence"]) for one in sent] == list(range(1, 502))
    assert {one.data["workspace"] for one in sent} == {"acme"}


@pytest.mark.parametrize("change", ["revoked", "narrowed"])
async def test_it_ends_when_the_key_may_no_longer_read(
    served: tuple[Server, httpx.AsyncClient], settings: Settings, change: str
) -> None:
    server, client = served
    reading = make_key(settings, "acme", "customers:read")
    async with streaming(client, X_Api_Key=reading) as source:
        await source.begin()
        await until(lambda: server.waiting() == 1)
        with connect_as_owner(settings, "test keys") as owner:
            (key_id,) = (key.key_id for key in list_keys(owner) if key.scopes)
            if change == "revoked":
                revoke_key(owner, key_id)
            else:
                change_scopes(owner, key_id, only=["customers:write"])
        assert await source.next() is None
    assert server.waiting() == 0


async def test_a_history_that_is_lost_meanwhile_is_the_last_event(
    served: tuple[Server, httpx.AsyncClient],
    settings: Settings,
    postgres_log: PostgresLog,
    keyring: Keyring,
) -> None:
    _, client = served
    for _ in range(2):
        await create(client)
    async with streaming(client) as source:
        await source.take(2)
        lose_history(settings, behind=1)
        await postgres_log.append([Writer(keyring).creation() for _ in range(3)])
        lost = await source.next()
        assert lost is not None
        assert (lost.event, lost.data["type"]) == ("lost_history", "/problems/lost_history")
        assert lost.data["status_code"] == 410
        told = msgspec.json.decode(events_document(settings.public_url))["components"]["messages"]
        assert told["LostHistory"]["name"] == lost.event
        Draft7Validator(told["LostHistory"]["payload"]).validate(lost.data)
        assert await source.next() is None


async def test_an_event_that_cannot_be_opened_ends_it_and_is_never_left_out(
    served: tuple[Server, httpx.AsyncClient], postgres_log: PostgresLog, keyring: Keyring
) -> None:
    _, client = served
    writer = Writer(keyring)
    without_key = replace(writer.creation(), data_keys=())
    async with streaming(client) as source:
        await postgres_log.append([writer.creation()])
        await source.take(1)
        await postgres_log.append([without_key, writer.creation()])
        assert await source.next() is None
    answer = await client.get(STREAM, headers={"Last-Event-ID": source.last_id})
    assert answer.status_code == 500


async def test_a_process_that_stops_ends_its_streams(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    server, client = served
    async with streaming(client) as source, streaming(client) as other:
        await until(lambda: server.waiting() == 2)
        await server.end()
        assert await source.next() is None
        assert await other.next() is None


async def test_who_hangs_up_leaves_nothing_behind(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    server, client = served
    async with streaming(client), streaming(client):
        await until(lambda: server.waiting() == 2)
    await until(lambda: server.waiting() == 0)


async def test_a_slow_reader_gets_nothing_that_was_read_after_its_key_was_revoked(
    served: tuple[Server, httpx.AsyncClient], settings: Settings
) -> None:
    server, client = served
    large = {"custom_fields": {"a": "x" * 16_000}, "email": "a@example.com"}
    for start in range(0, 900, 150):
        rows = [large | {"external_id": f"large-{start + number}"} for number in range(150)]
        assert (await client.post(f"{CUSTOMERS}/bulk", json=rows)).status_code == 200
    slow = make_key(settings, "acme", "customers:read")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(LIMIT_SECONDS)
        await asyncio.to_thread(connection.connect, ("127.0.0.1", server.port))
        request = f"GET {STREAM} HTTP/1.1\r\nHost: test\r\nX-Api-Key: {slow}\r\n\r\n"
        connection.sendall(request.encode())
        heard = await asyncio.to_thread(connection.recv, 4096)
        with connect_as_owner(settings, "test keys") as owner:
            (key_id,) = (key.key_id for key in list_keys(owner) if key.scopes)
            revoke_key(owner, key_id)

        async def is_refused() -> bool:
            answer = await client.head(EVENTS, headers={"X-Api-Key": slow})
            return answer.status_code == 401

        await until(is_refused)
        heard += await asyncio.to_thread(_read_to_the_end, connection)
    count = heard.count(b"\nevent: CustomerCreated\n")
    assert 0 < count < 900
    assert heard.endswith(b"0\r\n\r\n")


def _read_to_the_end(connection: socket.socket) -> bytes:
    heard = bytearray()
    while not heard.endswith(b"\r\n0\r\n\r\n"):
        read = connection.recv(1_000_000)
        assert read
        heard += read
    return bytes(heard)


async def test_each_event_is_on_one_line_whatever_it_holds(
    served: tuple[Server, httpx.AsyncClient],
) -> None:
    _, client = served
    odd = {"line\nend": "a\n\tb", "two": ["\u2028", "data: x\n\nid: y"], "nested": {"a": 1}}
    content = json.dumps({"email": "a@example.com", "custom_fields": odd}, indent=2)
    headers = {"Content-Type": "application/json"}
    answer = await client.post(CUSTOMERS, content=content.encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    async with client.stream("GET", STREAM) as stream:
        heard = b""
        async for piece in stream.aiter_bytes():
            heard += piece
            if heard.endswith(b"\n\n") and b"data:" in heard:
                break
    *_, event = heard.split(b"\n\n")[:-1]
    names = [line.split(b":")[0] for line in event.split(b"\n")]
    assert names == [b"id", b"event", b"data"]
    data = json.loads(event.split(b"\ndata: ")[1])
    assert data["data"]["customer"]["custom_fields"] == odd
