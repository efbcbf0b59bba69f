"""The service we are measured beside answers what we answer, so that the two can be compared."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from events.keys import Keyring
from runtime.settings import Settings, read_master_keys
from tests.benchmarks import peer
from tests.benchmarks.compare import differences
from tests.benchmarks.data import customer
from tests.benchmarks.peer_data import prepare, seed
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.projecting import projecting

LISTS = (
    "?per_page=100",
    "?page=2",
    "?page=7&per_page=15",
    "?page=900",
    "?tags=vip",
    "?tags=vip,gold",
    "?tags=vip&tags=gold",
    "?tags=nobody",
    "?search=quixley",
    "?search=nimbus",
    "?search=Maria",
    "?search=maria+bergstrom",
    "?search=xu",
    "?search=20%25",
    "?search=+",
    "?search=maria&tags=gold",
)
BODIES: tuple[Any, ...] = (
    {"email": "jane@example.com"},
    {"phone": "+15550001234", "tags": [" vip", "VIP", "gold"], "unknown": 1},
    {"first_name": "Jane"},
    {"email": "jane"},
    {"phone": "15550001234"},
    {"email": "jane@example.com", "firstName": 3},
    {"email": "jane@example.com", "lastName": "x" * 301},
    {"email": "jane@example.com", "tags": ["a,b"]},
    {"email": "jane@example.com", "tags": [""]},
    {"email": "jane@example.com", "external_id": "nul\0"},
    {"email": "jane@example.com", "communication_preferences": {"fax": True}},
    {"email": "jane@example.com", "communication_preferences": {"sms": "true"}},
    {"email": "jane@example.com", "custom_fields": {"a": "x" * 20_000}},
    {"email": "jane@example.com", "custom_fields": [], "external_id": "cust-0000003"},
    customer(3),
    [],
)


@asynccontextmanager
async def a_peer(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the peer with its key; it has the first 200 customers."""
    key = prepare(settings.database_url)
    seed(settings.database_url, map(customer, range(200)))
    app = peer.app()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app),
            base_url="http://peer",
            headers={"X-Api-Key": key},
        ) as client,
    ):
        yield client


async def test_the_peer_answers_like_us(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEER_DATABASE_URL", settings.database_url)
    async with (
        running_api(settings) as ours,
        a_peer(settings) as theirs,
        projecting(settings, Keyring(read_master_keys(settings))) as model,
    ):
        with_key(ours, make_key(settings))

        async def compare(method: str, paths: tuple[str, str], body: Any = None) -> None:
            await model.catch_up()
            mine = await ours.request(method, CUSTOMERS + paths[0], json=body)
            answer = await theirs.request(method, CUSTOMERS + paths[1], json=body)
            told = (method, paths, body, mine.text, answer.text)
            assert mine.status_code == answer.status_code, told
            if mine.is_success:
                assert differences(mine.content, answer.content) == [], told

        async def newest(client: httpx.AsyncClient) -> str:
            await model.catch_up()
            return f"/{(await client.get(CUSTOMERS)).json()['data'][0]['id']}"

        await ours.post(f"{CUSTOMERS}/bulk", json={"customers": [*map(customer, range(200))]})
        for body in BODIES:
            await compare("POST", ("", ""), body)
        rows = [customer(3) | {"lastName": "Roe"}, customer(200), customer(201)]
        await compare("POST", ("/bulk", "/bulk"), {"customers": rows})
        one = (await newest(ours), await newest(theirs))
        await compare("GET", one)
        await compare(
            "PUT", one, {"firstName": "Joan", "tags": ["gold"], "custom_fields": {"a": 1}}
        )
        await compare("PUT", one, {"email": None, "phone": None})
        for query in LISTS:
            await compare("GET", (query, query))
        for method in ("GET", "DELETE", "GET", "DELETE"):
            await compare(method, one)
        await compare("GET", ("", ""))
        for client in (ours, theirs):
            client.headers["X-Api-Key"] = "sk_live_nobody"
        await compare("GET", one)
