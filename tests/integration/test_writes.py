"""Writes over HTTP: what is answered, what is in the log, and who wins a race."""

import asyncio

import httpx

from events.customer import CustomerCreated
from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from events.reading import recorded
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key
from tests.support.writing import create


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
