"""X-Consistency-Token on writes: the place of the newest event of whom the answer is about."""

import httpx

from runtime.settings import Settings
from tests.support.api import CUSTOMERS
from tests.support.writing import create, token_of


async def test_every_write_answers_the_place_of_its_event(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    created = await api.post(CUSTOMERS, json={"email": "a@b.test", "external_id": "key"})
    path = f"{CUSTOMERS}/{created.json()['data']['id']}"
    answers = [
        created,
        await api.put(path, json={"firstName": "Jane"}),
        await api.patch(path, json={"firstName": "Joan"}),
        await api.put(f"{CUSTOMERS}/external/key", json={"firstName": "Jean"}),
        await api.delete(path),
        await api.post(f"{path}/restore"),
        await api.delete(f"{CUSTOMERS}/external/key"),
        await api.put(f"{CUSTOMERS}/external/key", json={"email": "a@b.test"}),
    ]

    assert [token_of(settings, answer).position for answer in answers] == list(range(1, 9))


async def test_a_write_that_changes_nothing_answers_the_place_of_the_newest_event(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"
    changed = await api.put(path, json={"firstName": "Jane"})
    await create(api)

    same = await api.put(path, json={"firstName": "Jane"})

    assert token_of(settings, same) == token_of(settings, changed)


async def test_bulk_answers_the_newest_place_of_all_its_customers(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    rows = [{"external_id": name, "email": "a@b.test"} for name in "abc"]
    made = await api.post(f"{CUSTOMERS}/bulk", json=rows)
    await create(api)
    unchanged = await api.post(f"{CUSTOMERS}/bulk", json=rows[:2])
    mixed = [rows[0] | {"firstName": "Jane"}, rows[1], {"external_id": "c", "email": 1}]
    changed = await api.post(f"{CUSTOMERS}/bulk", json=mixed)

    assert token_of(settings, made).position == 3
    assert token_of(settings, unchanged).position == 2
    assert token_of(settings, changed).position == 5


async def test_there_is_no_token_when_no_customer_was_touched(api: httpx.AsyncClient) -> None:
    rows = [{"external_id": "a", "email": "a@b.test"}]

    failed = await api.post(f"{CUSTOMERS}/bulk", json=[7])
    dry = await api.post(f"{CUSTOMERS}/bulk?dry_run=true", json=rows)
    refused = await api.post(CUSTOMERS, json={})

    for answer in (failed, dry, refused):
        assert "X-Consistency-Token" not in answer.headers


async def test_tokens_show_nothing_and_are_of_one_workspace(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    first, second = [
        (await api.post(CUSTOMERS, json={"email": "a@b.test"})).headers["X-Consistency-Token"]
        for _ in range(2)
    ]

    assert len(first) == len(second)
    assert first[:16] != second[:16]
