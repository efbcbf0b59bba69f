"""How much a key may ask, and that every answer says what is left."""

import re
from collections.abc import AsyncGenerator

import httpx
import psycopg
import pytest
from msgspec.structs import replace

from runtime.settings import Settings
from runtime.web.authentication import Authentication
from runtime.web.envelope import BASE_PATH
from runtime.web.rate_limit import RateLimit
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key
from tests.support.web import ALMIGHTY, READER, Keys, Probes, an_app

SECOND = 10**9
UNKNOWN = f"{CUSTOMERS}/01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"


class Clock:
    """Stands still until a test moves it; in nanoseconds."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def keys() -> Keys:
    """The keys that the tiny app knows."""
    return Keys()


@pytest.fixture
def clock() -> Clock:
    """The clock of the tiny app's limit."""
    return Clock()


@pytest.fixture
async def client(keys: Keys, clock: Clock) -> AsyncGenerator[httpx.AsyncClient]:
    """A tiny app that takes three requests a minute from each key."""
    app = an_app(Authentication(keys.lookup), Probes(), RateLimit(3, clock=clock))
    transport = httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType] - Litestar types ASGI more narrowly
    async with httpx.AsyncClient(transport=transport, base_url="http://test" + BASE_PATH) as made:
        made.headers["X-Api-Key"] = READER
        yield made


async def test_every_answer_to_a_known_key_says_the_policy_and_what_is_left(
    settings: Settings,
) -> None:
    async with running_api(replace(settings, read_wait=0)) as client:
        api = with_key(client, make_key(settings))
        created = await api.post(CUSTOMERS, json=REFERENCE_CUSTOMER)
        own = f"{CUSTOMERS}/{created.json()['data']['id']}"
        answers = [
            created,
            await api.get(CUSTOMERS),
            await api.head(CUSTOMERS),
            await api.get(own),
            await api.get(f"{CUSTOMERS}?page=0"),
            await api.post(CUSTOMERS, content=b"{"),
            await api.get(UNKNOWN),
            await api.get(f"{BASE_PATH}/nothing"),
            await api.get(BASE_PATH),
            await api.request("PROPFIND", CUSTOMERS),
            await api.options(CUSTOMERS),
        ]
        for answer in answers:
            assert answer.headers["ratelimit-policy"] == '"default";q=6000;w=60'
            left = re.fullmatch(r'"default";r=([0-9]+);t=([0-9]+)', answer.headers["ratelimit"])
            assert left is not None
            assert 5990 <= int(left[1]) <= 6000
            assert 0 <= int(left[2]) <= 1


async def test_without_a_known_key_an_answer_says_the_policy_alone(settings: Settings) -> None:
    async with running_api(settings) as api:
        for path in (CUSTOMERS, f"{BASE_PATH}/nothing"):
            answer = await api.get(path, headers={"X-Api-Key": "sk_live_" + "u" * 43})
            assert answer.headers["ratelimit-policy"] == '"default";q=6000;w=60'
            assert "ratelimit" not in answer.headers


async def test_outside_the_base_path_nothing_is_counted_or_told(settings: Settings) -> None:
    async with running_api(settings) as client:
        api = with_key(client, make_key(settings))
        for path in ("/health/live", "/problems/internal", "/nothing", "/api/v1/externals"):
            answer = await api.get(path)
            assert not any(name.startswith("ratelimit") for name in answer.headers)


async def test_a_limit_of_zero_limits_nothing_and_is_not_told(settings: Settings) -> None:
    async with running_api(replace(settings, rate_limit=0)) as client:
        api = with_key(client, make_key(settings))
        for _ in range(20):
            answer = await api.get(UNKNOWN)
            assert answer.status_code == 404
            assert not any(name.startswith("ratelimit") for name in answer.headers)


async def test_the_setting_is_the_limit_of_each_key_by_itself(settings: Settings) -> None:
    keys = [make_key(settings), make_key(settings), make_key(settings, test=True)]
    async with running_api(replace(settings, rate_limit=2)) as api:
        for key in keys:
            statuses = [
                (await api.get(UNKNOWN, headers={"X-Api-Key": key})).status_code for _ in range(3)
            ]
            assert statuses == [404, 404, 429]


async def test_429_says_when_to_come_again_and_then_takes_the_request(
    client: httpx.AsyncClient, clock: Clock
) -> None:
    for left in (2, 1, 0):
        answer = await client.get("/thing")
        assert answer.status_code == 200
        assert answer.headers["ratelimit"] == f'"default";r={left};t={(3 - left) * 20}'
    clock.now += 5 * SECOND + 1
    answer = await client.get("/thing")
    assert answer.status_code == answer.json()["status_code"] == 429
    assert answer.json()["type"] == "/problems/rate_limited"
    assert answer.headers["retry-after"] == "15"
    assert answer.headers["ratelimit"] == '"default";r=0;t=55'
    clock.now += 15 * SECOND
    assert (await client.get("/thing")).status_code == 200
    assert (await client.get("/thing")).status_code == 429


async def test_head_counts_and_what_asks_for_no_key_does_not(client: httpx.AsyncClient) -> None:
    for _ in range(5):
        await client.options("/thing")
        await client.get("/nothing")
        await client.delete("/thing")
        await client.get("/fails/bug")
    assert (await client.get("/nothing")).headers["ratelimit"] == '"default";r=3;t=0'
    for _ in range(3):
        assert (await client.post("/thing")).status_code == 403
    assert (await client.get("/thing")).status_code == 429


async def test_faults_of_ours_say_what_is_left(client: httpx.AsyncClient) -> None:
    client.headers["X-Api-Key"] = ALMIGHTY
    answers = [
        await client.get("/fails/bug"),
        await client.get("/fails/database"),
        await client.put("/unmarked"),
    ]
    assert [answer.status_code for answer in answers] == [500, 503, 500]
    for answer in answers:
        assert answer.headers["ratelimit"].startswith('"default";r=')


async def test_a_key_that_cannot_be_looked_up_is_told_the_policy_alone(
    client: httpx.AsyncClient, keys: Keys
) -> None:
    keys.fault = psycopg.OperationalError("away")
    for path, status in (("/thing", 503), ("/nothing", 404)):
        answer = await client.get(path)
        assert answer.status_code == status
        assert answer.headers["ratelimit-policy"] == '"default";q=3;w=60'
        assert "ratelimit" not in answer.headers
