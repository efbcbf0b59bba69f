"""POST /customers: one customer is made, and answered as the reference page shows."""

import httpx
import pytest

from events.log import LogReader
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key
from tests.support.writing import code_of, create, errors


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


async def test_what_is_not_sent_is_answered_as_null_or_empty(api: httpx.AsyncClient) -> None:
    data = (await api.post(CUSTOMERS, json={"phone": "+15550001234"})).json()["data"]

    absent = ["email", "first_name", "last_name", "company_name", "external_id"]
    expected = dict.fromkeys(absent) | {
        "id": data["id"],
        "phone": "+15550001234",
        "tags": [],
        "custom_fields": {},
        "communication_preferences": {},
        "created_at": data["created_at"],
        "updated_at": data["created_at"],
        "version": 1,
    }
    assert data == expected


async def test_without_email_and_phone_nobody_is_made(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    for body in ({}, {"firstName": "Jane"}, {"email": None, "phone": None}, {"email": " "}):
        answer = await api.post(CUSTOMERS, json=body)
        assert answer.status_code == 400
        assert ("phone", "contact_required", "/phone") in errors(answer)
    assert (await log_reader.head()).position == 0


@pytest.mark.parametrize(
    ("camel", "snake"),
    [
        ("firstName", "first_name"),
        ("lastName", "last_name"),
        ("companyName", "company_name"),
    ],
)
async def test_both_spellings_of_a_name_are_taken_but_not_two_that_differ(
    api: httpx.AsyncClient, camel: str, snake: str
) -> None:
    phone = {"phone": "+15550001234"}
    for names in ({camel: "Jane"}, {snake: "Jane"}, {camel: "Jane", snake: "Jane"}):
        answer = await api.post(CUSTOMERS, json=phone | names)
        assert answer.json()["data"][snake] == "Jane"

    answer = await api.post(CUSTOMERS, json=phone | {camel: "Jane", snake: "Joan"})

    assert answer.status_code == 400
    assert {field for field, _, _ in errors(answer)} <= {camel, snake}


async def test_a_taken_external_id_is_409_with_the_id_of_its_holder(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    holder = await create(api, external_id="taken")

    answer = await api.post(CUSTOMERS, json={"email": "a@b.test", "external_id": "taken"})

    assert (answer.status_code, code_of(answer)) == (409, "external_id_taken")
    assert answer.json()["existing_id"] == holder
    assert errors(answer) == [("external_id", "external_id_taken", "/external_id")]
    assert (await log_reader.head()).position == 1


async def test_every_workspace_has_external_ids_of_its_own(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    await create(api, external_id="cust-1")

    for foreign in (make_key(settings, "globex"), make_key(settings, "acme", test=True)):
        headers = {"X-Api-Key": foreign}
        body = {"email": "a@b.test", "external_id": "cust-1"}
        assert (await api.post(CUSTOMERS, json=body, headers=headers)).status_code == 200
