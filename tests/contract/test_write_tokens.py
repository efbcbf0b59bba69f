"""X-Consistency-Token on writes: the place of the newest event of whom the answer is about."""

import base64

import httpx
import pytest

from events.envelope import WorkspaceId
from events.token import Tokens
from runtime.sealing import Sealer
from runtime.settings import Settings, read_master_keys
from tests.support.api import CUSTOMERS, make_key
from tests.support.writing import create, errors, token_of

TOKEN = "X-Consistency-Token"


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
        assert TOKEN not in answer.headers


async def test_a_token_shows_nothing_of_its_place(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    answers = [await api.post(CUSTOMERS, json={"email": "a@b.test"}) for _ in range(2)]

    first, second = (base64.urlsafe_b64decode(answer.headers[TOKEN] + "==") for answer in answers)
    for sealed, answer in ((first, answers[0]), (second, answers[1])):
        place = token_of(settings, answer)
        assert place.chain not in sealed
        for order in ("big", "little"):
            assert place.position.to_bytes(4, order) not in sealed
    assert len(first) == len(second)
    # Of bytes without a meaning one in 256 is the same; of two places in clear nearly all would be.
    assert sum(one == other for one, other in zip(first, second, strict=True)) < 8


@pytest.mark.parametrize(("workspace", "test"), [("globex", False), ("acme", True)])
async def test_a_token_is_of_no_use_to_another_workspace(
    both: httpx.AsyncClient, settings: Settings, workspace: str, test: bool
) -> None:
    written = await both.post(CUSTOMERS, json={"email": "a@b.test"})
    token = {TOKEN: written.headers[TOKEN]}
    foreign = {"X-Api-Key": make_key(settings, workspace, test=test)}
    tokens = Tokens(Sealer(read_master_keys(settings)), settings.log_id)

    refused = await both.get(CUSTOMERS, headers=token | foreign)
    own = await both.get(CUSTOMERS, headers=token)

    assert (
        tokens.read(WorkspaceId(f"{workspace}_test" if test else workspace), token[TOKEN]) is None
    )
    assert (refused.status_code, errors(refused)) == (400, [(TOKEN, "invalid_token", None)])
    # To its own workspace it says what to wait for, and here nobody projects.
    assert own.status_code == 503
