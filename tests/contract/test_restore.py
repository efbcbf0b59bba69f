"""POST /customers/{id}/restore: a deleted customer comes back, with its id and history."""

import httpx

from events.customer import CustomerRestored
from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from events.reading import recorded
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key
from tests.support.writing import (
    NOBODY,
    a_deleted_customer,
    an_erased_customer,
    code_of,
    create,
    errors,
)


async def test_a_restored_customer_is_as_it_was_with_the_same_id_and_history(
    api: httpx.AsyncClient,
) -> None:
    before = (await api.post(CUSTOMERS, json=REFERENCE_CUSTOMER)).json()["data"]
    path = f"{CUSTOMERS}/{before['id']}"
    await api.delete(path)

    answer = await api.post(f"{path}/restore")

    data = answer.json()["data"]
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"3"')
    assert answer.json()["message"] == "Customer restored successfully"
    assert data["created_at"] == before["created_at"] < data["updated_at"]
    assert data == before | {"version": 3, "updated_at": data["updated_at"]}
    assert (await api.put(path, json={"firstName": "Joan"})).json()["data"]["version"] == 4


async def test_who_and_why_are_in_the_event_of_a_restoration(
    api: httpx.AsyncClient, log_reader: LogReader, keyring: Keyring
) -> None:
    customer_id = await a_deleted_customer(api)
    headers = {"X-Actor": "clerk-7", "X-Reason": "a mistake"}

    await api.post(f"{CUSTOMERS}/{customer_id}/restore", headers=headers)

    (keyed,) = await log_reader.read_after(Position(2), 10)
    event = recorded(keyring, keyed).event
    assert isinstance(event, CustomerRestored)
    assert (event.actor, event.reason) == ("clerk-7", "a mistake")


async def test_restoring_a_live_customer_is_200_without_an_event(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    customer_id = await create(api)

    answer = await api.post(f"{CUSTOMERS}/{customer_id}/restore")

    assert (answer.status_code, answer.json()["data"]["version"]) == (200, 1)
    assert (await log_reader.head()).position == 1


async def test_an_external_id_taken_meanwhile_is_409_with_the_id_of_its_holder(
    api: httpx.AsyncClient,
) -> None:
    customer_id = await a_deleted_customer(api, external_id="key")
    holder = await create(api, external_id="key")

    taken = await api.post(f"{CUSTOMERS}/{customer_id}/restore")
    await api.delete(f"{CUSTOMERS}/{holder}")
    free = await api.post(f"{CUSTOMERS}/{customer_id}/restore")

    assert (taken.status_code, taken.json()["existing_id"]) == (409, holder)
    assert errors(taken) == [("external_id", "external_id_taken", "/external_id")]
    assert (free.status_code, free.json()["data"]["external_id"]) == (200, "key")


async def test_a_restored_customer_holds_its_external_id_again(api: httpx.AsyncClient) -> None:
    customer_id = await a_deleted_customer(api, external_id="key")
    await api.post(f"{CUSTOMERS}/{customer_id}/restore")

    taken = await api.post(CUSTOMERS, json={"email": "a@b.test", "external_id": "key"})

    assert (taken.status_code, taken.json()["existing_id"]) == (409, customer_id)


async def test_a_customer_of_nobody_or_of_another_workspace_is_404(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    path = f"{CUSTOMERS}/{await a_deleted_customer(api)}/restore"
    foreign = {"X-Api-Key": make_key(settings, "globex")}

    answers = [await api.post(f"{NOBODY}/restore"), await api.post(path, headers=foreign)]
    malformed = await api.post(f"{CUSTOMERS}/42/restore")

    assert [(a.status_code, code_of(a)) for a in answers] == [(404, "customer_not_found")] * 2
    assert malformed.status_code == 400


async def test_an_erased_customer_is_410_to_its_own_workspace_and_404_to_others(
    api: httpx.AsyncClient, postgres_log: PostgresLog, keyring: Keyring, settings: Settings
) -> None:
    path = f"{CUSTOMERS}/{await an_erased_customer(postgres_log, keyring)}"
    foreign = {"X-Api-Key": make_key(settings, "globex")}

    own = [
        await api.post(f"{path}/restore"),
        await api.put(path, json={}),
        await api.delete(path),
    ]
    other = await api.post(f"{path}/restore", headers=foreign)

    assert [(a.status_code, code_of(a)) for a in own] == [(410, "customer_erased")] * 3
    assert other.status_code == 404


async def test_a_body_is_not_needed_and_one_that_is_sent_is_ignored(
    api: httpx.AsyncClient,
) -> None:
    for content in (b"", b"{", b'{"email":null}', b"\xff" * 300_000):
        path = f"{CUSTOMERS}/{await a_deleted_customer(api)}/restore"
        answer = await api.post(path, content=content, headers={"Content-Type": "text/plain"})
        assert answer.status_code == 200
