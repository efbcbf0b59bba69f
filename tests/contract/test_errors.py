"""Every failure: the published envelope, what RFC 9457 adds to it, and the order of the checks."""

import ast
from pathlib import Path

import httpx
import psycopg
import pytest
from msgspec.structs import replace

from command_side.errors import Rejection
from runtime.settings import Settings
from runtime.web.authentication import Authentication
from runtime.web.envelope import BASE_PATH
from runtime.web.problem_types import PROBLEMS, code_of
from runtime.web.problems import ApiError
from runtime.web.rate_limit import RateLimit
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api
from tests.support.web import ALMIGHTY, Keys, Probes, an_app
from tests.support.writing import create

ROOT = Path(__file__).parent.parent.parent
UNKNOWN = f"{CUSTOMERS}/01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"
ENVELOPE = ["success", "status_code", "message", "errors", "meta"]
PROBLEM = ["type", "title", "status", "detail", "instance"]


async def failures(both: httpx.AsyncClient, accept: dict[str, str]) -> list[httpx.Response]:
    """One answer for each way in which a request can fail."""
    await both.post(CUSTOMERS, json=REFERENCE_CUSTOMER)
    long = {"external_id": "x" * 300_000}
    text = {"Content-Type": "text/plain"}
    return [
        await both.get(f"{CUSTOMERS}?page=0", headers=accept),
        await both.get(f"{CUSTOMERS}/no-uuid", headers=accept),
        await both.post(CUSTOMERS, json={}, headers=accept),
        await both.post(CUSTOMERS, content=b"{", headers=accept | {"Content-Type": "a/b+json"}),
        await both.get(CUSTOMERS, headers=accept | {"X-Api-Key": "none"}),
        await both.get(f"{BASE_PATH}/nothing", headers=accept),
        await both.get("/nothing", headers=accept),
        await both.get(UNKNOWN, headers=accept),
        await both.delete(UNKNOWN, headers=accept),
        await both.request("PROPFIND", CUSTOMERS, headers=accept),
        await both.post(CUSTOMERS, json=REFERENCE_CUSTOMER, headers=accept),
        await both.post(CUSTOMERS, json=long, headers=accept),
        await both.post(CUSTOMERS, content=b"{}", headers=accept | text),
    ]


async def test_every_failure_has_the_published_members_and_those_of_a_problem(
    both: httpx.AsyncClient,
) -> None:
    for answer in await failures(both, {}):
        body = answer.json()
        kind = PROBLEMS[body["type"].removeprefix("/problems/")]
        assert answer.headers["content-type"] == "application/json"
        assert body["status"] == kind.status == answer.status_code
        assert body["title"] == kind.title
        assert body["instance"] == answer.request.url.path
        assert body["meta"]["request_id"] == answer.headers["x-request-id"]
        if answer.status_code == 401:
            assert list(body) == ["detail", "meta", "type", "title", "status", "instance"]
            continue
        assert body["success"] is False
        assert body["status_code"] == answer.status_code
        assert body["detail"] == body["message"]
        assert list(body)[:5] == ENVELOPE
        assert [name for name in body if name in PROBLEM] == PROBLEM


async def test_problem_json_is_what_is_asked_for_by_name(both: httpx.AsyncClient) -> None:
    for answer in await failures(both, {"Accept": "application/problem+json, */*;q=0.1"}):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["vary"] == "Accept"
        assert answer.json()["status"] == answer.status_code


async def test_nobody_is_refused_for_what_he_accepts(both: httpx.AsyncClient) -> None:
    for accept in ("text/html", "image/*", "application/json;q=0", "*/*;q=0", "nonsense", ""):
        for path, status in ((CUSTOMERS, 200), (UNKNOWN, 404)):
            answer = await both.get(path, headers={"Accept": accept})
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/json"


async def test_a_success_is_json_whatever_is_accepted(both: httpx.AsyncClient) -> None:
    answer = await both.get(CUSTOMERS, headers={"Accept": "application/problem+json"})
    assert answer.headers["content-type"] == "application/json"
    assert "vary" not in answer.headers


async def test_the_instance_is_the_path_as_it_was_sent(both: httpx.AsyncClient) -> None:
    for path in ("/a%2Fb", "/a%20b", "/%C3%A9", "/%00", "/%ff", "/a//b/"):
        answer = await both.get(f"{BASE_PATH}{path}?search=jane")
        assert answer.json()["instance"] == f"{BASE_PATH}{path}"


async def test_all_field_errors_are_told_at_once_each_with_its_four_members(
    both: httpx.AsyncClient,
) -> None:
    body = {"firstName": 3, "email": "x", "tags": ["a,b", ""], "custom_fields": []}
    answer = await both.post(CUSTOMERS, json=body)
    errors = answer.json()["errors"]
    assert [(error["field"], error["pointer"]) for error in errors] == [
        ("firstName", "/firstName"),
        ("email", "/email"),
        ("tags", "/tags/0"),
        ("tags", "/tags/1"),
        ("custom_fields", "/custom_fields"),
    ]
    for error in errors:
        assert list(error) == ["field", "error", "code", "pointer"]
        assert error["code"]
        assert error["error"].endswith(".")


async def test_all_that_is_wrong_is_told_at_once_wherever_it_stands(
    both: httpx.AsyncClient,
) -> None:
    customer_id = await create(both)
    wrong = {"email": None, "tags": [""], "firstName": 5}

    put = await both.put(f"{CUSTOMERS}/{customer_id}", json=wrong, headers={"X-Actor": "x" * 257})
    rows = [
        {"external_id": "new", "tags": [1], "custom_fields": dict.fromkeys(map(str, range(101)))}
    ]
    bulk = await both.post(f"{CUSTOMERS}/bulk", json=rows)

    assert [(error["field"], error["code"]) for error in put.json()["errors"]] == [
        ("tags", "too_short"),
        ("firstName", "wrong_type"),
        ("email", "contact_required"),
        ("phone", "contact_required"),
        ("X-Actor", "too_long"),
    ]
    (row,) = bulk.json()["data"]["results"]
    pointers = [error["pointer"] for error in row["errors"]]
    assert pointers == ["/0/tags/0", "/0/email", "/0/phone", "/0/custom_fields"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # The name is part of the sentence by chance: it is put in front all the same.
        ({"email": "e"}, "email: An email address must have an @-sign."),
        ({}, "email, phone: A customer needs an email or a phone; neither would be left."),
        (
            {"phone": "+15550001234", "tags": ["", ""]},
            "tags: A tag must not be empty.",
        ),
        (
            {"tags": 1, "phone": "+15550001234", "firstName": 1},
            "tags: Must be an array of strings, or null. firstName: Must be a string or null.",
        ),
        (
            {"phone": 1, "firstName": 1, "lastName": 1, "companyName": 1, "tags": 1, "email": 1},
            "More than 5 things are wrong; `errors` lists them.",
        ),
    ],
)
async def test_the_message_says_each_fault_once_with_the_fields_that_have_it(
    both: httpx.AsyncClient, body: dict[str, object], message: str
) -> None:
    assert (await both.post(CUSTOMERS, json=body)).json()["message"] == message


async def test_what_is_not_in_the_body_is_named_by_its_own_sentence(
    both: httpx.AsyncClient,
) -> None:
    headers = {"X-Actor": "a" * 257}
    answer = await both.post(f"{CUSTOMERS}?a=%01", json={"email": "x"}, headers=headers)
    assert answer.json()["message"] == (
        "email: An email address must have an @-sign. X-Actor is 257 "
        "characters long; at most 256 are kept. a holds control characters."
    )


@pytest.mark.parametrize(
    ("member", "value"), [("communication_preferences", "true"), ("custom_fields", '"\\u0000"')]
)
async def test_of_thousands_of_faults_twenty_are_told_and_that_there_are_more(
    both: httpx.AsyncClient, member: str, value: str
) -> None:
    json = {"Content-Type": "application/json"}
    inner = ",".join(f'"c{number}":{value}' for number in range(5000))
    body = f'{{"phone":"+15550001234","{member}":{{{inner}}}}}'.encode()
    errors = (await both.post(CUSTOMERS, content=body, headers=json)).json()["errors"]
    assert len(errors) == 21
    assert "more" in errors[-1]["error"]


async def test_every_problem_has_a_page_that_loads_nothing(both: httpx.AsyncClient) -> None:
    del both.headers["X-Api-Key"]
    for code, kind in PROBLEMS.items():
        answer = await both.get(f"/problems/{code}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert kind.title in answer.text
        assert str(kind.status) in answer.text
        for trace in ("http:", "https:", "src=", "href=", "url(", "{", "}}"):
            assert trace not in answer.text.replace(" { ", " ")
        assert (await both.head(f"/problems/{code}")).status_code == 200
    assert (await both.get("/problems/nothing")).status_code == 404


def test_no_failure_is_of_a_kind_that_is_not_in_the_table() -> None:
    for status in {kind.status for kind in PROBLEMS.values()}:
        assert PROBLEMS[code_of(status)].status == status
    for unheard in (418, "no_such_code"):
        with pytest.raises(KeyError):
            ApiError(unheard, "Never said.")


def test_every_kind_that_the_code_names_is_in_the_table() -> None:
    named = [rejection.code for rejection in Rejection.__subclasses__()]
    for package in ("command_side", "query_side", "runtime"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(
                        func=ast.Name(id="ApiError"), args=[ast.Constant(value=str(code)), *_]
                    ):
                        named.append(code)
                    case _:
                        pass
    assert set(named) <= PROBLEMS.keys()
    assert {"customer_not_found", "lost_history"} <= set(named)


async def test_a_wrong_method_is_told_before_a_missing_key_and_names_the_right_ones(
    both: httpx.AsyncClient,
) -> None:
    answer = await both.request("PROPFIND", CUSTOMERS, headers={"X-Api-Key": ""})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    answer = await both.options(CUSTOMERS, headers={"X-Api-Key": ""})
    assert answer.status_code == 204
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_the_key_is_judged_before_the_rate_and_the_rate_before_the_scope(
    settings: Settings,
) -> None:
    key = make_key(settings, "acme", "customers:read")
    async with running_api(replace(settings, rate_limit=1)) as api:
        assert (await api.post(CUSTOMERS, json={})).status_code == 401
        assert (await api.post(CUSTOMERS, headers={"X-Api-Key": key})).status_code == 403
        assert (await api.post(CUSTOMERS, headers={"X-Api-Key": key})).status_code == 429


async def test_the_scope_is_judged_before_the_customer_and_the_body(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    reader = {"X-Api-Key": make_key(settings, "acme", "customers:read")}
    assert (await both.put(UNKNOWN, content=b"{", headers=reader)).status_code == 403


async def test_the_customer_is_looked_for_before_the_body_is_judged(
    both: httpx.AsyncClient,
) -> None:
    json = {"Content-Type": "application/json"}
    text = {"Content-Type": "text/plain"}
    assert (await both.put(UNKNOWN, content=b"{", headers=json)).status_code == 404
    assert (await both.put(UNKNOWN, content=b"{", headers=text)).status_code == 404
    assert (await both.put(UNKNOWN, content=b" " * 300_000, headers=json)).status_code == 404
    assert (await both.put(UNKNOWN, json={"email": "x"})).status_code == 404
    assert (await both.delete(UNKNOWN, headers={"X-Actor": "x" * 257})).status_code == 404


async def test_a_well_formed_request_id_is_echoed_and_any_other_made_anew(
    both: httpx.AsyncClient,
) -> None:
    for given in ("r-1", "a.b:c_D-9", "x" * 128):
        answer = await both.get(UNKNOWN, headers={"X-Request-Id": given})
        assert answer.headers["x-request-id"] == answer.json()["meta"]["request_id"] == given
    made: set[str] = set()
    for bad in ("", "a b", "x" * 129, "a,b", "a;b", "a/b", "<a>"):
        answer = await both.get(UNKNOWN, headers={"X-Request-Id": bad})
        assert answer.headers["x-request-id"] == answer.json()["meta"]["request_id"]
        made.add(answer.headers["x-request-id"])
    assert len(made) == 7
    twice = [("X-Request-Id", "r-1"), ("X-Request-Id", "r-2")]
    answer = await both.get(UNKNOWN, headers=twice)
    assert answer.headers["x-request-id"] not in {"r-1", "r-2"}


TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


TRACEPARENTS = {
    PARENT: PARENT,
    f" {PARENT} ": PARENT,
    f"01{PARENT[2:]}-what-comes-later": f"01{PARENT[2:]}",
    f"{PARENT}-more": None,
    PARENT.upper(): None,
    f"ff{PARENT[2:]}": None,
    PARENT.replace(TRACE, "0" * 32): None,
    f"00-{TRACE}-{'0' * 16}-01": None,
    PARENT[:-1]: None,
    f"{PARENT}, {PARENT}": None,
    "": None,
}


async def test_a_traceparent_is_kept_with_the_event_and_a_malformed_one_ignored(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    for sent in TRACEPARENTS:
        headers = {"traceparent": sent}
        answer = await both.post(CUSTOMERS, json={"email": "jane@example.com"}, headers=headers)
        assert answer.status_code == 200
    async with await psycopg.AsyncConnection.connect(settings.database_url) as connection:
        cursor = await connection.execute(
            "SELECT convert_from(metadata, 'UTF8')::jsonb ->> 'traceparent'"
            " FROM log.events ORDER BY position"
        )
        assert [row[0] for row in await cursor.fetchall()] == list(TRACEPARENTS.values())


async def test_faults_of_ours_are_problems_too() -> None:
    app = an_app(Authentication(Keys().lookup), Probes(), RateLimit(9))
    transport = httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType] - Litestar types ASGI more narrowly
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for how, code in (("bug", "internal"), ("database", "unavailable")):
            answer = await client.get(f"{BASE_PATH}/fails/{how}")
            assert answer.json()["type"] == f"/problems/{code}"
        answer = await client.put(f"{BASE_PATH}/unmarked", headers={"X-Api-Key": ALMIGHTY})
        assert answer.json()["type"] == "/problems/internal"
