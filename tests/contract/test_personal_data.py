"""`GET /customers/{id}/personal-data`: everything that is known of one person, as one file."""

import json
from typing import Any

import httpx
import pytest

from events.keys import Keyring
from events.log import LogReader, PostgresLog
from runtime.accesses import list_accesses
from runtime.api_keys import list_keys
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key
from tests.support.writing import NOBODY, code_of, create, erase, errors

WHY = {"X-Actor": "clerk-7", "X-Reason": "asked for", "X-Request-Id": "ticket-99"}
STORED = {
    "email": "jane@example.com",
    "phone": "+15550001234",
    "first_name": "Jane",
    "last_name": "Doe",
    "company_name": "Acme Corp",
    "external_id": "cust-001",
    "tags": ["vip"],
    "custom_fields": {"account_type": "premium"},
    "communication_preferences": {"sms": True, "email": True, "voice": False},
}


async def known(api: httpx.AsyncClient, customer_id: str) -> Any:
    """All that is known."""
    answer = await api.get(f"{CUSTOMERS}/{customer_id}/personal-data")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_everything_is_told_of_a_person_and_where_it_is_and_who_read_it(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    await both.get(f"{CUSTOMERS}?as_of=2026-01-01T00:00:00Z")
    customer_id = await create(both, **REFERENCE_CUSTOMER)
    one = f"{CUSTOMERS}/{customer_id}"
    changed = await both.patch(one, json={"lastName": "Roe"}, headers=WHY)
    await both.get(f"{one}/history")
    for _ in range(2):
        await both.get(f"{CUSTOMERS}?as_of={changed.json()['data']['updated_at']}")
    with connect_as_owner(settings, "test keys") as owner:
        (key,) = list_keys(owner)

    answer = await both.get(f"{one}/personal-data", headers={"X-Request-Id": "r-1"})

    assert answer.headers["content-type"] == "application/json"
    name = f'attachment; filename="customer-{customer_id}.json"'
    assert answer.headers["content-disposition"] == name
    told = answer.json()
    assert (told["success"], told["status_code"], told["meta"]) == (
        True,
        200,
        {"request_id": "r-1"},
    )
    data = told["data"]
    assert (data["customer_id"], data["workspace"]) == (customer_id, "acme")
    assert (data["status"], data["version"]) == ("live", 2)
    assert data["customer"] == changed.json()["data"]
    first, second = data["events"]
    assert (first["type"], first["version"], first["data"]["customer"]) == (
        "CustomerCreated",
        1,
        STORED,
    )
    assert second["data"]["customer"] == STORED | {"last_name": "Roe"}
    assert second["data"]["previous"] == {"last_name": "Doe"}
    assert [second["data"][member] for member in ("actor", "reason", "request_id")] == list(
        WHY.values()
    )
    assert {(event["api_key_id"], event["api_key_name"]) for event in data["events"]} == {
        (str(key.key_id), "live key")
    }
    assert [(one["action"], one["api_key_name"]) for one in data["accesses"]] == [
        ("history", "live key"),
        ("export", "live key"),
    ]
    (everyone,) = data["accesses_to_all"]
    assert (everyone["action"], everyone["count"]) == ("as_of", 2)
    assert {place["where"]: place["ids"] for place in data["held_in"]} | {"data_key": []} == {
        "log": [customer_id],
        "data_key": [],
        "jetstream": [f"customers.{settings.log_id}.*.acme.{customer_id[-2:]}.*"],
        "idempotency": [customer_id],
        "accesses": [customer_id],
        "backups": [customer_id],
        "read_model": [customer_id],
        "external_id": ["cust-001"],
    }


async def test_a_deleted_customer_is_known_and_is_in_fewer_places(
    both: httpx.AsyncClient,
) -> None:
    customer_id = await create(both, **REFERENCE_CUSTOMER)
    await both.delete(f"{CUSTOMERS}/{customer_id}")

    data = await known(both, customer_id)

    assert (data["status"], data["customer"]["first_name"]) == ("deleted", "Jane")
    assert [event["type"] for event in data["events"]] == ["CustomerCreated", "CustomerDeleted"]
    assert {"read_model", "external_id"}.isdisjoint(place["where"] for place in data["held_in"])


async def test_a_long_history_is_told_to_its_end_and_to_every_digit(
    both: httpx.AsyncClient,
) -> None:
    customer_id = await create(both)
    one = f"{CUSTOMERS}/{customer_id}"
    for number in range(70):
        body = b'{"custom_fields":{"n":%d.00000000000000000001,"x":"%b"}}' % (number, b"x" * 15_000)
        await both.patch(one, content=body, headers={"Content-Type": "application/json"})

    answer = await both.get(f"{one}/personal-data")

    events = answer.json()["data"]["events"]
    assert [event["version"] for event in events] == list(range(1, 72))
    assert '"n":69.00000000000000000001' in answer.text


async def test_of_an_erased_person_there_is_nothing_to_tell(
    both: httpx.AsyncClient,
    settings: Settings,
    postgres_log: PostgresLog,
    log_reader: LogReader,
    keyring: Keyring,
) -> None:
    customer_id = await create(both)
    await erase(postgres_log, log_reader, keyring, customer_id)

    answer = await both.get(f"{CUSTOMERS}/{customer_id}/personal-data")

    assert (answer.status_code, code_of(answer)) == (410, "customer_erased")
    with connect_as_owner(settings, "test accesses") as owner:
        assert list(list_accesses(owner)) == []


async def test_a_stranger_is_answered_as_if_there_were_no_such_person(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    customer_id = await create(both)
    for key in (make_key(settings, "globex"), make_key(settings, "acme", test=True)):
        headers = {"X-Api-Key": key, "X-Request-Id": "r-1"}
        for query in ("", "?consistency=strong"):
            path = f"{CUSTOMERS}/{customer_id}/personal-data{query}"
            answer = await both.get(path, headers=headers)
            nobody = await both.get(f"{NOBODY}/personal-data{query}", headers=headers)
            assert answer.status_code == nobody.status_code == 404
            assert answer.text.replace(customer_id, "") == nobody.text.replace(
                NOBODY.rsplit("/", 1)[1], ""
            )
    with connect_as_owner(settings, "test accesses") as owner:
        assert list(list_accesses(owner)) == []


async def test_only_who_may_read_customers_is_told_and_a_wrong_question_is_refused(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    path = f"{CUSTOMERS}/{await create(both)}/personal-data"
    for scope, status in (("customers:erase", 403), ("customers:read", 200)):
        headers = {"X-Api-Key": make_key(settings, "acme", scope)}
        assert (await both.get(path, headers=headers)).status_code == status
        head = await both.head(path, headers=headers)
        assert (head.status_code, head.content) == (status, b"")
    malformed = await both.get(f"{CUSTOMERS}/4711/personal-data?consistency=strong")
    assert errors(malformed) == [
        ("customer_id", "invalid_id", None),
        ("consistency", "unknown_value", None),
    ]
    strict = await both.get(f"{path}?page=1", headers={"Prefer": "handling=strict"})
    assert errors(strict) == [("page", "unknown_parameter", None)]
    warned = await both.get(f"{path}?page=1")
    assert json.loads(warned.text)["meta"]["warnings"] == [
        "page is no parameter of this call and was ignored."
    ]


@pytest.mark.parametrize(
    ("loss", "status", "code"),
    [
        (
            "REVOKE EXECUTE ON FUNCTION control.record_access FROM customers_api",
            503,
            "unavailable",
        ),
        ("DELETE FROM keyring.data_keys", 500, "internal"),
    ],
)
async def test_nothing_is_told_when_it_cannot_be_recorded_or_not_all_can_be_read(
    both: httpx.AsyncClient, settings: Settings, loss: str, status: int, code: str
) -> None:
    customer_id = await create(both)
    with connect_as_owner(settings, "test loss") as owner:
        owner.execute(loss.encode())
    answer = await both.get(f"{CUSTOMERS}/{customer_id}/personal-data")
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert "jane" not in answer.text
