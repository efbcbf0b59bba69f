"""ETag, If-Match and If-None-Match on writes: nobody overwrites what they have not seen."""

import asyncio

import httpx
import pytest

from events.customer import CustomerUpdated
from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from events.reading import recorded
from tests.support.api import CUSTOMERS
from tests.support.writing import JSON, NOBODY, code_of, create, errors

WRITES = pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/{id}"),
        ("PATCH", "/{id}"),
        ("DELETE", "/{id}"),
        ("POST", "/{id}/restore"),
        ("PUT", "/external/key"),
        ("DELETE", "/external/key"),
    ],
)


async def write(
    api: httpx.AsyncClient, method: str, path: str, customer_id: str, **headers: str
) -> httpx.Response:
    """One of the writes, with a body when it takes one."""
    body = b'{"lastName":"Doe"}' if method in {"PUT", "PATCH"} else b""
    url = f"{CUSTOMERS}{path.format(id=customer_id)}"
    return await api.request(method, url, content=body, headers=JSON | headers)


@WRITES
async def test_a_write_meant_for_the_current_version_is_done(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    customer_id = await create(api, external_id="key")

    answer = await write(api, method, path, customer_id, **{"If-Match": '"7", "1"'})

    assert answer.status_code == 200
    assert answer.headers["ETag"] == ('"1"' if "restore" in path else '"2"')


@WRITES
@pytest.mark.parametrize("if_match", ['"1"', '"3"', 'W/"2"', '"x"', '"02"'])
async def test_a_write_meant_for_another_version_is_412_and_told_the_current_one(
    api: httpx.AsyncClient, log_reader: LogReader, method: str, path: str, if_match: str
) -> None:
    customer_id = await create(api, external_id="key")
    await api.put(f"{CUSTOMERS}/{customer_id}", json={"firstName": "Jane"})

    answer = await write(api, method, path, customer_id, **{"If-Match": if_match})

    assert (answer.status_code, code_of(answer)) == (412, "version_mismatch")
    assert (answer.json()["current_version"], answer.headers["ETag"]) == (2, '"2"')
    assert "2" in answer.json()["message"]
    assert (await log_reader.head()).position == 2


@WRITES
async def test_any_version_will_do_for_if_match_any_and_none_for_if_none_match_any(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    customer_id = await create(api, external_id="key")

    none = await write(api, method, path, customer_id, **{"If-None-Match": "*"})
    some = await write(api, method, path, customer_id, **{"If-Match": "*"})

    assert (none.status_code, some.status_code) == (412, 200)


@WRITES
async def test_a_condition_that_cannot_be_read_is_400(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    customer_id = await create(api, external_id="key")
    wrong = {"If-Match": "1", "If-None-Match": '"1', "X-Actor": "x" * 257}

    answer = await write(api, method, path, customer_id, **wrong)

    assert answer.status_code == 400
    assert sorted(errors(answer)) == [
        ("If-Match", "malformed_etag", None),
        ("If-None-Match", "malformed_etag", None),
        ("X-Actor", "too_long", None),
    ]


async def test_a_deleted_customer_is_restored_on_the_version_its_deletion_answered(
    api: httpx.AsyncClient,
) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"
    deleted = (await api.delete(path)).headers["ETag"]

    old = await api.post(f"{path}/restore", headers={"If-Match": '"1"'})
    now = await api.post(f"{path}/restore", headers={"If-Match": deleted})

    assert (old.status_code, old.json()["current_version"]) == (412, 2)
    assert (now.status_code, now.json()["data"]["version"]) == (200, 3)


async def test_a_write_that_would_change_nothing_is_412_too(api: httpx.AsyncClient) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"

    answer = await api.put(path, json={}, headers={"If-Match": '"2"'})

    assert answer.status_code == 412


async def test_404_comes_before_400_before_412_before_409(api: httpx.AsyncClient) -> None:
    await create(api, external_id="taken")
    path = f"{CUSTOMERS}/{await create(api)}"
    old, taken = {"If-Match": '"9"'}, {"external_id": "taken"}

    absent = await api.put(NOBODY, json={"email": 1}, headers=old)
    form = await api.put(path, content=b"a=b", headers=old)
    wrong = await api.put(path, json=taken | {"email": 1}, headers=old)
    broken = await api.put(path, json=taken | {"email": None}, headers=old)
    mismatch = await api.put(path, json=taken, headers=old)
    conflict = await api.put(path, json=taken, headers={"If-Match": '"1"'})

    answers = (absent, form, wrong, broken, mismatch, conflict)
    assert [answer.status_code for answer in answers] == [404, 415, 400, 400, 412, 409]


async def test_create_takes_no_conditions(api: httpx.AsyncClient) -> None:
    headers = {"If-Match": '"1"', "If-None-Match": "nonsense"}

    answer = await api.post(CUSTOMERS, json={"email": "a@b.test"}, headers=headers)

    assert answer.status_code == 200


async def test_of_writers_that_have_seen_the_same_version_only_one_wins(
    api: httpx.AsyncClient, other_process: httpx.AsyncClient, log_reader: LogReader
) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"

    answers = await asyncio.gather(
        *(
            client.put(path, json={"firstName": f"Jane {n}"}, headers={"If-Match": '"1"'})
            for n, client in enumerate((api, other_process) * 4)
        )
    )

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] + [412] * 7
    assert {a.json()["current_version"] for a in answers if a.status_code == 412} == {2}
    assert (await log_reader.head()).position == 2


async def test_without_if_match_all_writers_succeed_and_every_change_is_kept(
    api: httpx.AsyncClient,
    other_process: httpx.AsyncClient,
    log_reader: LogReader,
    keyring: Keyring,
) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"

    answers = await asyncio.gather(
        *(
            client.request(method, path, json={"custom_fields": {f"{name}{n}": n}})
            for n, method in enumerate(["PUT", "PATCH"] * 4)
            for name, client in (("a", api), ("b", other_process))
        )
    )

    assert {answer.status_code for answer in answers} == {200}
    last = (await log_reader.read_after(Position(16), 10))[0]
    event = recorded(keyring, last).event
    assert isinstance(event, CustomerUpdated)
    assert len(event.customer.custom_fields) == 16
