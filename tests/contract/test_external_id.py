"""PUT and DELETE /customers/external/{external_id}: customers by the client's own id."""

import asyncio
from urllib.parse import quote

import httpx
import pytest

from events.customer import CustomerCreated, CustomerDeleted
from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from events.reading import recorded
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key
from tests.support.writing import code_of, create, errors

EXTERNAL = f"{CUSTOMERS}/external"
JANE = {"email": "jane@example.com"}


async def test_put_creates_when_absent(api: httpx.AsyncClient) -> None:
    answer = await api.put(f"{EXTERNAL}/cust-001", json=JANE | {"tags": ["vip"]})

    data = answer.json()["data"]
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"1"')
    assert answer.json()["message"] == "Customer created successfully"
    assert answer.headers["Location"] == f"{CUSTOMERS}/{data['id']}"
    assert (data["external_id"], data["tags"], data["version"]) == ("cust-001", ["vip"], 1)


async def test_put_changes_the_holder_like_put_by_id(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    customer_id = await create(api, external_id="cust-001", custom_fields={"a": 1})

    answer = await api.put(f"{EXTERNAL}/cust-001", json={"custom_fields": {"b": 2}})
    again = await api.put(f"{EXTERNAL}/cust-001", json={"custom_fields": {"b": 2}})

    data = answer.json()["data"]
    assert answer.json()["message"] == "Customer updated successfully"
    assert "Location" not in answer.headers
    assert (data["id"], data["custom_fields"]) == (customer_id, {"a": 1, "b": 2})
    assert again.json()["data"] == data
    assert (await log_reader.head()).position == 2


@pytest.mark.parametrize(
    "external_id",
    ["a/b", "/", "//a//", "a/", "a%2Fb", "?a=b&c#d", "a b+c", "é", "🙂", ".", "..", "x" * 255, "%"],
)
async def test_any_external_id_can_be_addressed_percent_encoded(
    api: httpx.AsyncClient, external_id: str
) -> None:
    path = f"{EXTERNAL}/{quote(external_id, safe='').replace('.', '%2E')}"

    made = await api.put(path, json=JANE)
    changed = await api.put(path, json={"firstName": "Jane"})
    gone = await api.delete(path)

    assert made.json()["data"]["external_id"] == external_id
    assert changed.json()["data"]["version"] == 2
    assert gone.json()["data"] == {"id": made.json()["data"]["id"]}


async def test_a_slash_is_part_of_the_id_encoded_or_not(api: httpx.AsyncClient) -> None:
    made = await api.put(f"{EXTERNAL}/a%2Fb%2F", json=JANE)
    plain = await api.put(f"{EXTERNAL}/a/b/", json={"firstName": "Jane"})

    assert made.json()["data"]["external_id"] == "a/b/"
    assert plain.json()["data"]["id"] == made.json()["data"]["id"]


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1//external/customers//external/a//b/",
        "/api/v1/%65xternal/c%75stomers/external/a%2F/b/",
    ],
)
async def test_what_stands_before_the_id_is_no_part_of_it_however_it_is_written(
    api: httpx.AsyncClient, path: str
) -> None:
    answer = await api.put(httpx.URL(str(api.base_url), raw_path=path.encode()), json=JANE)

    assert answer.json()["data"]["external_id"] == "a//b/"


async def test_external_ids_are_case_sensitive(api: httpx.AsyncClient) -> None:
    lower = await api.put(f"{EXTERNAL}/key", json=JANE)
    upper = await api.put(f"{EXTERNAL}/KEY", json=JANE)

    assert lower.json()["data"]["id"] != upper.json()["data"]["id"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "too_short"),
        ("/", "too_short"),
        (f"/{'x' * 256}", "too_long"),
        ("/a%00b", "control_character"),
        ("/a%0Ab", "control_character"),
        ("/a%C2%85b", "control_character"),
        ("/%FF", "invalid_utf8"),
        ("/%ED%A0%80", "invalid_utf8"),
        ("/100%", "malformed"),
        ("/%zz", "malformed"),
    ],
)
async def test_what_cannot_be_an_external_id_is_400(
    api: httpx.AsyncClient, path: str, code: str
) -> None:
    # As it is: httpx would encode what is malformed.
    url = httpx.URL(str(api.base_url), raw_path=f"{EXTERNAL}{path}".encode())

    answers = [await api.put(url, json=JANE), await api.delete(url)]

    assert [(a.status_code, errors(a)) for a in answers] == [
        (400, [("external_id", code, None)])
    ] * 2


@pytest.mark.parametrize("exists", [True, False])
async def test_another_external_id_in_the_body_is_400(
    api: httpx.AsyncClient, log_reader: LogReader, exists: bool
) -> None:
    if exists:
        await create(api, external_id="key")

    for other in ("KEY", None):
        answer = await api.put(f"{EXTERNAL}/key", json=JANE | {"external_id": other})
        assert answer.status_code == 400
        assert errors(answer) == [("external_id", "other_external_id", "/external_id")]
    same = await api.put(f"{EXTERNAL}/key", json=JANE | {"external_id": "key"})

    assert same.status_code == 200
    assert (await log_reader.head()).position == 1


async def test_if_none_match_any_creates_only(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    only = {"If-None-Match": "*"}

    made = await api.put(f"{EXTERNAL}/key", json=JANE, headers=only)
    again = await api.put(f"{EXTERNAL}/key", json={"firstName": "Jane"}, headers=only)

    assert made.status_code == 200
    assert (again.status_code, code_of(again)) == (412, "version_mismatch")
    assert (again.json()["current_version"], again.headers["ETag"]) == (1, '"1"')
    assert (await log_reader.head()).position == 1


async def test_of_many_that_create_only_one_does(
    api: httpx.AsyncClient, other_process: httpx.AsyncClient, log_reader: LogReader
) -> None:
    answers = await asyncio.gather(
        *(
            client.put(f"{EXTERNAL}/key", json=JANE, headers={"If-None-Match": "*"})
            for client in (api, other_process) * 3
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5
    assert (await log_reader.head()).position == 1


@pytest.mark.parametrize("if_match", ["*", '"1"'])
async def test_if_match_on_an_absent_one_is_412_without_a_version(
    api: httpx.AsyncClient, log_reader: LogReader, if_match: str
) -> None:
    answer = await api.put(f"{EXTERNAL}/key", json=JANE, headers={"If-Match": if_match})

    assert (answer.status_code, code_of(answer)) == (412, "version_mismatch")
    assert answer.json()["current_version"] is None
    assert "ETag" not in answer.headers
    assert (await log_reader.head()).position == 0


async def test_of_two_that_put_an_absent_one_at_once_one_creates_and_one_updates(
    api: httpx.AsyncClient, other_process: httpx.AsyncClient, log_reader: LogReader
) -> None:
    answers = await asyncio.gather(
        *(
            client.put(f"{EXTERNAL}/key", json=JANE | {"custom_fields": {f"{name}{n}": n}})
            for n in range(4)
            for name, client in (("a", api), ("b", other_process))
        )
    )

    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json()["data"]["version"] for answer in answers) == list(range(1, 9))
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1
    last = max(answers, key=lambda answer: answer.json()["data"]["version"])
    assert len(last.json()["data"]["custom_fields"]) == 8
    assert (await log_reader.head()).position == 8


async def test_delete_frees_the_external_id_and_then_is_404(api: httpx.AsyncClient) -> None:
    customer_id = await create(api, external_id="key")

    gone = await api.delete(f"{EXTERNAL}/key")
    again = await api.delete(f"{EXTERNAL}/key")
    anew = await api.put(f"{EXTERNAL}/key", json=JANE)

    assert (gone.status_code, gone.json()["data"]) == (200, {"id": customer_id})
    assert (again.status_code, code_of(again)) == (404, "customer_not_found")
    assert again.json()["message"] == "No customer has this external_id."
    assert anew.json()["data"]["id"] != customer_id


async def test_who_and_why_are_in_the_events(
    api: httpx.AsyncClient, log_reader: LogReader, keyring: Keyring
) -> None:
    headers = {"X-Actor": "clerk-7", "X-Reason": "because"}

    await api.put(f"{EXTERNAL}/key", json=JANE, headers=headers)
    await api.delete(f"{EXTERNAL}/key", headers=headers)

    for keyed in await log_reader.read_after(Position(0), 10):
        event = recorded(keyring, keyed).event
        assert isinstance(event, CustomerCreated | CustomerDeleted)
        assert (event.actor, event.reason) == ("clerk-7", "because")


async def test_every_workspace_has_external_ids_of_its_own(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    await create(api, external_id="key")

    for foreign in (make_key(settings, "globex"), make_key(settings, test=True)):
        headers = {"X-Api-Key": foreign}
        gone = await api.delete(f"{EXTERNAL}/key", headers=headers)
        made = await api.put(f"{EXTERNAL}/key", json=JANE, headers=headers)
        assert (gone.status_code, made.json()["data"]["version"]) == (404, 1)


async def test_an_absent_one_is_told_before_what_is_wrong_when_deleting(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.delete(f"{EXTERNAL}/key", headers={"X-Actor": "x" * 257})

    assert answer.status_code == 404


async def test_creating_by_put_needs_what_creating_needs(api: httpx.AsyncClient) -> None:
    answer = await api.put(f"{EXTERNAL}/key", json={"firstName": "Jane"})

    assert answer.status_code == 400
    assert [code for _, code, _ in errors(answer)] == ["contact_required"] * 2


async def test_other_methods_are_405_and_named(api: httpx.AsyncClient) -> None:
    for path in (f"{EXTERNAL}/key", f"{EXTERNAL}/a/b"):
        answer = await api.patch(path, json={})
        assert answer.status_code == 405
        assert {"PUT", "DELETE"} <= set(answer.headers["Allow"].split(", "))
