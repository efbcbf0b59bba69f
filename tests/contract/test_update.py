"""PUT and PATCH /customers/{id}: both change only what is sent, as a JSON merge patch does."""

import httpx
import pytest

from events.log import LogReader
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key
from tests.support.writing import NOBODY, create, errors

BOTH = pytest.mark.parametrize("method", ["PUT", "PATCH"])


@BOTH
async def test_only_what_is_sent_changes_and_null_clears(
    api: httpx.AsyncClient, method: str
) -> None:
    path = f"{CUSTOMERS}/{await create(api, firstName='Jane', lastName='Doe', tags=['vip'])}"

    answer = await api.request(method, path, json={"first_name": "Joan", "lastName": None})

    data = answer.json()["data"]
    assert (answer.status_code, answer.json()["message"]) == (200, "Customer updated successfully")
    assert (data["first_name"], data["last_name"]) == ("Joan", None)
    assert (data["email"], data["tags"]) == ("jane@example.com", ["vip"])
    assert (data["version"], answer.headers["ETag"]) == (2, '"2"')


@BOTH
async def test_objects_merge_by_key_and_tags_are_replaced(
    api: httpx.AsyncClient, method: str
) -> None:
    path = f"{CUSTOMERS}/" + await create(
        api,
        tags=["a", "b"],
        custom_fields={"kept": 1, "gone": 2, "nested": {"a": 1}},
        communication_preferences={"sms": True, "email": True},
    )
    patch = {
        "tags": ["c"],
        "custom_fields": {"gone": None, "new": 3, "nested": {"b": 2}},
        "communication_preferences": {"sms": None, "voice": False},
    }

    data = (await api.request(method, path, json=patch)).json()["data"]

    assert data["tags"] == ["c"]
    assert data["custom_fields"] == {"kept": 1, "nested": {"b": 2}, "new": 3}
    assert data["communication_preferences"] == {"email": True, "voice": False}


@BOTH
async def test_nothing_changed_is_200_with_the_same_version_and_no_event(
    api: httpx.AsyncClient, log_reader: LogReader, method: str
) -> None:
    path = f"{CUSTOMERS}/{await create(api, firstName='Jane', custom_fields={'a': 1})}"

    for body in (
        {},
        {"first_name": "Jane"},
        {"custom_fields": {"absent": None}},
        {"custom_fields": {"a": 1}},
    ):
        answer = await api.request(method, path, json=body)
        assert (answer.status_code, answer.json()["data"]["version"]) == (200, 1)

    assert (await log_reader.head()).position == 1


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/merge-patch+json", 200),
        ("application/json", 200),
        ("application/merge-patch+json; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/json-patch+json", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
async def test_a_patch_is_json_or_a_merge_patch(
    api: httpx.AsyncClient, content_type: str, status: int
) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"

    answer = await api.patch(
        path, content=b'{"first_name":"Jane"}', headers={"Content-Type": content_type}
    )

    assert answer.status_code == status


@BOTH
async def test_only_a_live_customer_of_the_own_workspace_can_be_changed(
    api: httpx.AsyncClient, settings: Settings, method: str
) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"
    globex = {"X-Api-Key": make_key(settings, "globex")}
    sandbox = {"X-Api-Key": make_key(settings, test=True)}

    foreign = await api.request(method, path, json={"tags": []}, headers=globex)
    tested = await api.request(method, path, json={"tags": []}, headers=sandbox)
    unknown = await api.request(method, NOBODY, json={"tags": []})
    malformed = await api.request(method, f"{CUSTOMERS}/42", json={"tags": []})
    await api.delete(path)
    deleted = await api.request(method, path, json={"tags": []})

    assert [a.status_code for a in (foreign, tested, unknown, deleted)] == [404] * 4
    assert errors(malformed) == [("customer_id", "invalid_id", None)]


@BOTH
async def test_a_taken_external_id_is_409_with_the_id_of_its_holder(
    api: httpx.AsyncClient, method: str
) -> None:
    holder = await create(api, external_id="taken")
    path = f"{CUSTOMERS}/{await create(api)}"

    answer = await api.request(method, path, json={"external_id": "taken"})

    assert (answer.status_code, answer.json()["existing_id"]) == (409, holder)
    assert errors(answer) == [("external_id", "external_id_taken", "/external_id")]


@BOTH
async def test_changing_the_external_id_frees_the_old_one(
    api: httpx.AsyncClient, method: str
) -> None:
    customer_id = await create(api, external_id="old")
    path = f"{CUSTOMERS}/{customer_id}"
    await api.request(method, path, json={"external_id": "new"})

    assert await create(api, external_id="old") != customer_id
    taken = await api.post(CUSTOMERS, json={"email": "a@b.test", "external_id": "new"})
    assert taken.status_code == 409
