"""The HTTP frame around a tiny app: what every route of ours gets without asking."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import psycopg
import pytest
from litestar import Litestar
from structlog.testing import capture_logs

from runtime.web.authentication import Authentication
from runtime.web.envelope import BASE_PATH
from runtime.web.health import Probe
from runtime.web.json_body import OBJECT_LIMIT
from runtime.web.server import serve
from tests.support.web import ALMIGHTY, READER, UNKNOWN, Keys, Probes, an_app

JSON = {"X-Api-Key": ALMIGHTY, "Content-Type": "application/json"}
ID = {"X-Request-Id": "r-1"}


@pytest.fixture
def keys() -> Keys:
    """The keys that the app knows."""
    return Keys()


@pytest.fixture
def probes() -> Probes:
    """What the app finds when it looks whether it is ready."""
    return Probes()


@pytest.fixture
def app(keys: Keys, probes: Probes) -> Litestar:
    """The tiny app."""
    return an_app(Authentication(keys.lookup), probes)


@pytest.fixture
async def client(app: Litestar) -> AsyncGenerator[httpx.AsyncClient]:
    """Calls the app below its base path."""
    transport = httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType] - Litestar types ASGI more narrowly
    async with httpx.AsyncClient(transport=transport, base_url="http://test" + BASE_PATH) as made:
        yield made


@pytest.fixture
async def server_url(app: Litestar) -> AsyncGenerator[str]:
    """The app behind the server that an API process runs."""
    announced = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    serving = asyncio.create_task(
        serve(app, "127.0.0.1", 0, announce=announced.set_result, stop=stop)
    )
    port = json.loads(await announced)["port"]
    yield f"http://127.0.0.1:{port}{BASE_PATH}"
    stop.set()
    await serving


async def test_a_success_is_in_the_envelope(client: httpx.AsyncClient) -> None:
    answer = await client.get("/thing?page=7", headers={"X-Api-Key": READER, **ID})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == (
        '{"success":true,"status_code":200,"message":"Here","data":{"workspace":"acme"},'
        '"meta":{"page":7,"request_id":"r-1"}}'
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Api-Key": ""},
        {"X-Api-Key": UNKNOWN},
        {"X-Api-Key": READER + "x"},
        {"X-Api-Key": READER + " x"},
        {"X-Api-Key": "é"},
        {"X-Api-Key": "sk_live_" + "r" * 10_000},
        {"Authorization": f"Bearer {READER}"},
    ],
)
async def test_without_a_valid_key_everybody_gets_the_same_401(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    sent = [(name.encode(), value.encode("latin-1")) for name, value in (headers | ID).items()]
    answer = await client.get("/thing", headers=sent)
    assert answer.status_code == 401
    assert answer.text == (
        '{"detail":"Invalid or expired API key","meta":{"request_id":"r-1"},'
        '"type":"/problems/invalid_key","title":"Invalid API key","status":401,'
        '"instance":"/api/v1/external/thing"}'
    )
    assert "www-authenticate" in answer.headers


async def test_two_keys_at_once_are_no_key(client: httpx.AsyncClient) -> None:
    both = [("X-Api-Key", READER), ("X-Api-Key", ALMIGHTY)]
    assert (await client.get("/thing", headers=both)).status_code == 401


async def test_a_key_without_the_scope_is_refused_before_its_body_is_read(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/thing", headers={"X-Api-Key": READER, **ID}, content=b"no json")
    assert answer.status_code == 403
    assert answer.text == (
        '{"detail":"API key lacks required scope: customers:write","meta":{"request_id":"r-1"},'
        '"type":"/problems/missing_scope","title":"Missing scope","status":403,'
        '"instance":"/api/v1/external/thing"}'
    )


async def test_a_key_without_any_scope_may_do_everything(client: httpx.AsyncClient) -> None:
    answer = await client.post("/thing", headers=JSON, content=b'{"a":1}')
    assert answer.status_code == 200
    assert answer.headers["location"] == "/thing/1"
    assert (await client.get("/thing", headers=JSON)).json()["data"] == {"workspace": "acme_test"}


async def test_a_route_that_names_no_scope_is_closed_to_everybody(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.put("/unmarked")).status_code == 401
    assert (await client.put("/unmarked", headers=JSON)).status_code == 500


async def test_unknown_paths_answer_in_the_envelope(client: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/thing/x", "/%00", "/%ff%fe", "/thing/" + "x" * 5000):
        answer = await client.get(path)
        assert answer.status_code == 404
        envelope = ["success", "status_code", "message", "errors", "meta"]
        assert list(answer.json())[:5] == envelope


async def test_bad_json_is_told_with_its_place(client: httpx.AsyncClient) -> None:
    answer = await client.post("/thing", headers=JSON, content=b'{"a":{"b":1,"b":2}}')
    assert answer.status_code == 400
    assert answer.json()["errors"] == [
        {
            "field": "a",
            "error": "The member is there twice; which one counts cannot be known.",
            "code": "duplicate_key",
            "pointer": "/a/b",
        }
    ]


async def test_a_body_without_a_length_is_read_no_further_than_the_limit(
    client: httpx.AsyncClient,
) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1024
            yield b" " * 1024

    # httpx hands the app the next piece only when it asks for one.
    answer = await client.post("/thing", headers=JSON, content=endless())
    assert answer.status_code == 413
    assert given <= OBJECT_LIMIT + 2048


async def test_a_length_over_the_limit_is_refused_before_anything_is_read(
    client: httpx.AsyncClient,
) -> None:
    async def unreadable() -> AsyncIterator[bytes]:
        pytest.fail("the body was read")
        yield b""

    headers = {**JSON, "Content-Length": str(OBJECT_LIMIT + 1)}
    assert (await client.post("/thing", headers=headers, content=unreadable())).status_code == 413


async def test_a_real_client_reads_its_413_and_goes_on_with_the_connection(server_url: str) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(3):
            answer = await client.post(f"{server_url}/thing", headers=JSON, content=b" " * 300_000)
            assert answer.status_code == 413
            answer = await client.post(f"{server_url}/thing", headers=JSON, content=b"{}")
            assert answer.status_code == 200


async def test_who_and_why_are_taken_from_the_headers(client: httpx.AsyncClient) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers: list[tuple[bytes, bytes]] = [
        (b"X-Api-Key", ALMIGHTY.encode()),
        (b"Content-Type", b"application/json"),
        (b"X-Request-Id", b"r-1"),
        (b"X-Actor", " Jürgen ".encode()),
        (b"X-Reason", "Zoë asked".encode("latin-1")),
        (b"traceparent", parent.encode()),
    ]
    answer = await client.post("/thing", headers=headers, content=b"{}")
    assert answer.json()["data"]["context"] == {
        "request_id": "r-1",
        "actor": "Jürgen",
        "reason": "Zoë asked",
        "traceparent": parent,
    }


async def test_who_and_why_that_cannot_be_kept_are_all_named(client: httpx.AsyncClient) -> None:
    headers = {**JSON, "X-Actor": "x" * 257, "X-Reason": "a\x1f"}
    answer = await client.post("/thing", headers=headers, content=b"{}")
    assert answer.status_code == 400
    told = [(error["field"], error["code"]) for error in answer.json()["errors"]]
    assert told == [("X-Actor", "too_long"), ("X-Reason", "control_character")]
    assert (
        await client.post("/thing", headers={**JSON, "X-Actor": "x" * 256}, content=b"{}")
    ).status_code == 200


@pytest.mark.parametrize(
    ("how", "status"), [("bug", 500), ("database", 503), ("pool", 503), ("read-only", 503)]
)
async def test_a_fault_of_ours_tells_the_client_nothing_of_its_cause(
    client: httpx.AsyncClient, how: str, status: int
) -> None:
    with capture_logs() as lines:
        answer = await client.get(f"/fails/{how}?search=jane", headers=ID)
    assert answer.status_code == answer.json()["status_code"] == status
    assert answer.json()["meta"] == {"request_id": "r-1"}
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
    for secret in ("jane", "root", "10.0.0.1", "Traceback", "connection after"):
        assert secret not in answer.text
    (line,) = lines
    assert line["request_id"] == "r-1"
    assert line["route"] == f"{BASE_PATH}/fails/{{how}}"
    # Of a crowd there are as many lines as requests, and none has more to tell than the next.
    assert (line.get("exc_info") is None) == (how == "pool")
    assert "jane" not in json.dumps({k: v for k, v in line.items() if k != "exc_info"})


async def test_every_answer_has_its_id_and_the_headers_of_caution(
    client: httpx.AsyncClient,
) -> None:
    answers = [
        await client.get("/thing", headers={**JSON, **ID}),
        await client.get("/thing", headers=ID),
        await client.get("/nothing", headers=ID),
        await client.delete("/thing", headers=ID),
        await client.options("/thing", headers=ID),
        await client.get("/fails/database", headers=ID),
        await client.get("http://test/health/ready", headers=ID),
    ]
    for answer in answers:
        assert answer.headers["x-request-id"] == "r-1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


async def test_keys_that_cannot_be_looked_up_are_503_and_no_verdict(
    client: httpx.AsyncClient, keys: Keys
) -> None:
    keys.fault = psycopg.OperationalError("away")
    answer = await client.get("/thing", headers=JSON)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    keys.fault = None
    assert (await client.get("/thing", headers=JSON)).status_code == 200


async def test_the_process_is_live_whatever_its_servers_do(
    client: httpx.AsyncClient, probes: Probes
) -> None:
    probes.found["database"] = psycopg.OperationalError("away")
    answer = await client.get("http://test/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})
    assert (await client.head("http://test/health/live")).status_code == 200


async def test_readiness_says_in_words_what_is_wrong(
    client: httpx.AsyncClient, probes: Probes
) -> None:
    async def ready() -> tuple[int, str, object]:
        answer = await client.get("http://test/health/ready")
        return answer.status_code, answer.json()["status"], answer.json()["checks"]

    well = {"ok": True, "detail": "answers"}
    assert await ready() == (200, "ready", {"database": well, "nats": well})
    probes.found["nats"] = Probe(ok=False, detail="away: publishing waits")
    nats_away = {"ok": False, "detail": "away: publishing waits"}
    assert await ready() == (200, "degraded", {"database": well, "nats": nats_away})
    probes.found["database"] = psycopg.OperationalError("user root")
    away = {"ok": False, "detail": "cannot be reached (OperationalError)"}
    assert await ready() == (503, "not ready", {"database": away, "nats": nats_away})
