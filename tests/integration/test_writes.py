"""Writes over HTTP: what is answered, what is in the log, and who wins a race."""

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from events.customer import CustomerCreated, CustomerUpdated
from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from events.reading import recorded
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key


@pytest.fixture
async def api(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API of one workspace."""
    async with running_api(settings, "command") as client:
        yield with_key(client, make_key(settings))


@pytest.fixture
async def other_process(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """A second API on the same log, as another process would be."""
    async with running_api(settings, "command") as client:
        yield with_key(client, make_key(settings))


async def create(api: httpx.AsyncClient, **fields: object) -> str:
    """Create a customer; its id."""
    answer = await api.post(CUSTOMERS, json={"email": "jane@example.com"} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["id"]


async def test_create_customer_answers_as_the_reference_page_shows(api: httpx.AsyncClient) -> None:
    answer = await api.post(CUSTOMERS, json=REFERENCE_CUSTOMER)

    body = answer.json()
    customer_id = body["data"]["id"]
    assert answer.status_code == 200
    assert answer.headers["location"] == f"{CUSTOMERS}/{customer_id}"
    assert answer.headers["etag"] == '"1"'
    assert list(body) == ["success", "status_code", "message", "data", "meta"]
    assert body["message"] == "Customer created successfully"
    data = body["data"]
    assert {name: data[name] for name in list(data)[:9]} == {
        "id": customer_id,
        "email": "jane@example.com",
        "phone": "+15550001234",
        "first_name": "Jane",
        "last_name": "Doe",
        "company_name": "Acme Corp",
        "external_id": "cust-001",
        "tags": ["vip"],
        "custom_fields": {"account_type": "premium"},
    }
    assert data["created_at"] == data["updated_at"]
    assert data["version"] == 1


async def test_who_and_why_are_in_the_event(
    api: httpx.AsyncClient, log_reader: LogReader, keyring: Keyring
) -> None:
    headers = {"X-Actor": "clerk-7", "X-Reason": "signed up", "X-Request-Id": "req-1"}
    await api.post(CUSTOMERS, json={"email": "jane@example.com"}, headers=headers)

    (keyed,) = await log_reader.read_after(Position(0), 10)
    event = recorded(keyring, keyed).event

    assert isinstance(event, CustomerCreated)
    assert (event.actor, event.reason, event.request_id) == ("clerk-7", "signed up", "req-1")
    assert b"api_key_id" in keyed.stored.metadata
    assert b"clerk-7" not in keyed.stored.metadata
    assert b"req-1" not in keyed.stored.metadata
    assert b"jane" not in keyed.stored.payload


async def test_a_refused_request_writes_nothing(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    answers = [
        await api.post(CUSTOMERS, json={"firstName": 3}),
        await api.post(CUSTOMERS, content=b"{", headers={"Content-Type": "application/json"}),
        await api.post(CUSTOMERS, content=b"x", headers={"Content-Type": "text/plain"}),
        await api.put(f"{CUSTOMERS}/nonsense", json={}),
        await api.put(f"{CUSTOMERS}/01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21", json={}),
        await api.delete(f"{CUSTOMERS}/01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"),
        await api.post(f"{CUSTOMERS}/bulk", json={"customers": []}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 415, 400, 404, 404, 400]
    for answer in answers:
        body = answer.json()
        assert list(body)[:5] == ["success", "status_code", "message", "errors", "meta"]
        assert body["success"] is False
    errors = {(error["field"], error["code"]) for error in answers[0].json()["errors"]}
    assert errors == {
        ("firstName", "wrong_type"),
        ("email", "contact_required"),
        ("phone", "contact_required"),
    }
    assert (await log_reader.head()).position == 0


async def test_an_update_changes_what_is_sent_and_an_equal_one_nothing(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    customer_id = await create(api, firstName="Jane", custom_fields={"a": 1})

    first = await api.put(f"{CUSTOMERS}/{customer_id}", json={"custom_fields": {"b": 2}})
    again = await api.put(f"{CUSTOMERS}/{customer_id}", json={"custom_fields": {"b": 2}})

    assert first.json()["data"]["custom_fields"] == {"a": 1, "b": 2}
    assert first.json()["data"]["version"] == 2
    assert again.json()["data"] == first.json()["data"]
    assert (await log_reader.head()).position == 2


async def test_concurrent_updates_of_two_processes_all_count(
    api: httpx.AsyncClient,
    other_process: httpx.AsyncClient,
    log_reader: LogReader,
    keyring: Keyring,
) -> None:
    customer_id = await create(api)

    answers = await asyncio.gather(
        *(
            client.put(f"{CUSTOMERS}/{customer_id}", json={"custom_fields": {f"{name}{n}": n}})
            for n in range(8)
            for name, client in (("a", api), ("b", other_process))
        )
    )

    assert {answer.status_code for answer in answers} == {200}
    last = (await log_reader.read_after(Position(16), 10))[0]
    event = recorded(keyring, last).event
    assert isinstance(event, CustomerUpdated)
    assert len(event.customer.custom_fields) == 16


async def test_of_two_creations_with_one_external_id_only_one_wins(
    api: httpx.AsyncClient, other_process: httpx.AsyncClient, log_reader: LogReader
) -> None:
    answers = await asyncio.gather(
        *(
            client.post(CUSTOMERS, json={"email": "a@b.test", "external_id": "cust-1"})
            for client in (api, other_process)
            for _ in range(4)
        )
    )

    won = [answer for answer in answers if answer.status_code == 200]
    lost = [answer for answer in answers if answer.status_code == 409]
    assert (len(won), len(lost)) == (1, 7)
    assert {answer.json()["existing_id"] for answer in lost} == {won[0].json()["data"]["id"]}
    assert (await log_reader.head()).position == 1


async def test_deleting_frees_the_external_id(api: httpx.AsyncClient) -> None:
    customer_id = await create(api, external_id="cust-1")

    gone = await api.delete(f"{CUSTOMERS}/{customer_id}")
    again = await api.delete(f"{CUSTOMERS}/{customer_id}")

    assert (gone.status_code, gone.json()["data"]) == (200, {"id": customer_id})
    assert again.status_code == 404
    assert await create(api, external_id="cust-1") != customer_id


async def test_changing_the_external_id_frees_the_old_one(api: httpx.AsyncClient) -> None:
    customer_id = await create(api, external_id="old")
    await api.put(f"{CUSTOMERS}/{customer_id}", json={"external_id": "new"})

    assert await create(api, external_id="old") != customer_id
    taken = await api.post(CUSTOMERS, json={"email": "a@b.test", "external_id": "new"})
    assert taken.status_code == 409


async def test_bulk_creates_updates_and_leaves_by_external_id(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    rows = [{"external_id": f"c-{n}", "email": f"c{n}@example.com"} for n in range(500)]

    first = (await api.post(f"{CUSTOMERS}/bulk", json={"customers": rows})).json()["data"]
    again = (await api.post(f"{CUSTOMERS}/bulk", json=rows)).json()["data"]
    rows[0]["firstName"] = "Jane"
    changed = (await api.post(f"{CUSTOMERS}/bulk", json=rows)).json()["data"]

    assert (first["total"], first["created"], first["failed"]) == (500, 500, 0)
    assert again["unchanged"] == 500
    assert (changed["updated"], changed["unchanged"]) == (1, 499)
    assert [row["index"] for row in first["results"]] == list(range(500))
    assert changed["results"][0]["version"] == 2
    assert (await log_reader.head()).position == 501


async def test_a_bad_bulk_row_fails_alone(api: httpx.AsyncClient) -> None:
    rows = [
        {"external_id": "a", "email": "a@b.test"},
        {"email": "no-key@b.test"},
        {"external_id": "b", "email": "x"},
        7,
        {"external_id": "c"},
        {"external_id": "a", "phone": "+15550001234"},
    ]

    answer = await api.post(f"{CUSTOMERS}/bulk", json={"customers": rows})

    data = answer.json()["data"]
    assert answer.status_code == 200
    assert [row["status"] for row in data["results"]] == [
        "created",
        "failed",
        "failed",
        "failed",
        "failed",
        "updated",
    ]
    pointers = [error["pointer"] for row in data["results"] for error in row.get("errors", [])]
    assert pointers == [
        "/customers/1/external_id",
        "/customers/2/email",
        "/customers/3",
        "/customers/4/email",
        "/customers/4/phone",
    ]


async def test_two_identical_bulk_calls_at_once_make_no_doubles(
    api: httpx.AsyncClient, other_process: httpx.AsyncClient, log_reader: LogReader
) -> None:
    rows = [{"external_id": f"c-{n}", "email": f"c{n}@example.com"} for n in range(100)]

    answers = await asyncio.gather(
        *(client.post(f"{CUSTOMERS}/bulk", json=rows) for client in (api, other_process) * 2)
    )

    created = sum(answer.json()["data"]["created"] for answer in answers)
    unchanged = sum(answer.json()["data"]["unchanged"] for answer in answers)
    assert (created, unchanged) == (100, 300)
    assert (await log_reader.head()).position == 100


async def test_bulk_takes_1_to_500_rows(api: httpx.AsyncClient) -> None:
    rows = [{"external_id": f"c-{n}", "email": "a@b.test"} for n in range(501)]

    answer = await api.post(f"{CUSTOMERS}/bulk", json=rows)

    assert answer.status_code == 400
    assert "500" in answer.json()["errors"][0]["error"]


async def test_a_workspace_cannot_touch_another_ones_customer(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    customer_id = await create(api, external_id="cust-1")
    for foreign in (make_key(settings, "globex"), make_key(settings, "acme", test=True)):
        headers = {"X-Api-Key": foreign}
        put = await api.put(f"{CUSTOMERS}/{customer_id}", json={"tags": []}, headers=headers)
        gone = await api.delete(f"{CUSTOMERS}/{customer_id}", headers=headers)
        mine = await api.post(
            CUSTOMERS, json={"email": "a@b.test", "external_id": "cust-1"}, headers=headers
        )

        assert (put.status_code, gone.status_code, mine.status_code) == (404, 404, 200)


async def test_a_key_without_the_scope_is_refused_in_the_published_words(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    reader = make_key(settings, "acme", "customers:read")

    refused = await api.post(CUSTOMERS, json={}, headers={"X-Api-Key": reader})
    unknown = await api.post(CUSTOMERS, json={}, headers={"X-Api-Key": "sk_live_" + "x" * 43})

    assert refused.status_code == 403
    assert refused.json()["detail"] == "API key lacks required scope: customers:write"
    assert unknown.status_code == 401
    assert unknown.json()["detail"] == "Invalid or expired API key"


async def test_all_that_is_wrong_is_told_at_once(api: httpx.AsyncClient) -> None:
    customer_id = await create(api)
    wrong = {"email": None, "tags": [""], "firstName": 5}

    put = await api.put(f"{CUSTOMERS}/{customer_id}", json=wrong, headers={"X-Actor": "x" * 257})
    rows = [
        {"external_id": "new", "tags": [1], "custom_fields": dict.fromkeys(map(str, range(101)))}
    ]
    bulk = await api.post(f"{CUSTOMERS}/bulk", json=rows)

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


async def test_a_customer_that_is_not_there_is_told_before_what_is_wrong_with_the_body(
    api: httpx.AsyncClient,
) -> None:
    nobody = f"{CUSTOMERS}/01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"

    answers = [
        await api.put(nobody, json={"email": "x"}),
        await api.put(nobody, content=b"{", headers={"Content-Type": "application/json"}),
        await api.put(nobody, content=b"x", headers={"Content-Type": "text/plain"}),
        await api.delete(nobody, headers={"X-Actor": "x" * 257}),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404, 404]


async def test_an_atomic_bulk_with_a_bad_row_writes_nothing(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    rows = [{"external_id": "a", "email": "a@b.test"}, {"external_id": "b"}]

    refused = await api.post(f"{CUSTOMERS}/bulk?atomic=true", json=rows)
    unreadable = await api.post(f"{CUSTOMERS}/bulk?atomic=true", json=[rows[0], 7])

    assert (refused.status_code, unreadable.status_code) == (400, 400)
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/1/email", "/1/phone"]
    assert (await log_reader.head()).position == 0


async def test_a_dry_run_answers_the_same_and_writes_nothing(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    rows = [{"external_id": "a", "email": "a@b.test"}, {"external_id": "b"}]

    dry = (await api.post(f"{CUSTOMERS}/bulk?dry_run=true", json=rows)).json()["data"]
    assert (await log_reader.head()).position == 0
    done = (await api.post(f"{CUSTOMERS}/bulk", json=rows)).json()["data"]

    for data in (dry, done):
        data["results"][0].pop("id")
    assert dry == done
    bad = await api.post(f"{CUSTOMERS}/bulk?dry_run=yes", json=rows)
    assert bad.status_code == 400


async def test_ignored_members_are_named_but_not_without_end(api: httpx.AsyncClient) -> None:
    many = {f"member{n}" + "x" * 200: 1 for n in range(1000)}

    answer = await api.post(CUSTOMERS, json={"email": "a@b.test", "id": "x", **many})

    warnings = answer.json()["meta"]["warnings"]
    assert warnings[0] == "id is set by the service and was ignored."
    assert warnings[-1] == "981 more members were ignored."
    assert len(answer.content) < 3000
