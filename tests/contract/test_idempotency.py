"""Idempotency-Key: a write that is sent twice is done once, and answered twice."""

import asyncio
from typing import Any

import httpx
import pytest

from events.keys import Keyring
from events.log import LogReader, PostgresLog
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key
from tests.support.signals import until
from tests.support.writing import (
    JSON,
    a_deleted_customer,
    code_of,
    create,
    erase,
    errors,
    token_of,
)

BULK = f"{CUSTOMERS}/bulk"
KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}
JANE = {"email": "jane@example.com", "nickname": "J"}
NEW_ROWS = [
    {"external_id": "new", **JANE},
    {"external_id": "new", "firstName": "Jane"},
    {"external_id": "bad", "email": 7},
    {"external_id": "old", "if_version": 9},
    {"external_id": "old", "custom_fields": dict.fromkeys(map(str, range(101)), 1)},
    {"external_id": "none"},
    7,
]

WRITES = pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", JANE),
        ("PUT", "/{id}", {"firstName": "Jane"}),
        ("PUT", "/{id}", {}),
        ("PATCH", "/{id}", {"firstName": "Jane", "odd": 1}),
        ("DELETE", "/{id}", None),
        ("POST", "/{id}/restore", None),
        ("POST", "/{deleted}/restore", None),
        ("PUT", "/external/old", {"firstName": "Jane"}),
        ("PUT", "/external/a%2Fnew", JANE),
        ("DELETE", "/external/old", None),
        ("POST", "/bulk", NEW_ROWS),
        ("POST", "/bulk", [{"external_id": "old"}]),
        ("POST", "/bulk", [7]),
        ("POST", "/bulk?atomic=true", NEW_ROWS[:2]),
    ],
)


async def send(
    api: httpx.AsyncClient, method: str, path: str, body: object, **headers: str
) -> httpx.Response:
    """The write, with a key."""
    content: dict[str, Any] = {} if body is None else {"json": body}
    return await api.request(method, f"{CUSTOMERS}{path}", headers=KEY | headers, **content)


def told(answer: httpx.Response) -> dict[str, object]:
    """All of an answer that must be the same when it is given again."""
    body = answer.json()
    body["meta"].pop("request_id")
    headers = {name: answer.headers.get(name) for name in ("ETag", "Location")}
    return {"status": answer.status_code, "body": body, "headers": headers}


@WRITES
async def test_the_same_request_again_is_answered_the_same_and_does_nothing(
    api: httpx.AsyncClient,
    other_process: httpx.AsyncClient,
    settings: Settings,
    log_reader: LogReader,
    method: str,
    path: str,
    body: object,
) -> None:
    known = await create(api, external_id="old")
    path = path.format(id=known, deleted=await a_deleted_customer(api))

    first = await send(api, method, path, body)
    assert (first.status_code, "Idempotency-Replayed" in first.headers) == (200, False), first.text
    head = (await log_reader.head()).position
    await api.put(f"{CUSTOMERS}/{known}", json={"lastName": "Doe", "external_id": "renamed"})
    await api.delete(f"{CUSTOMERS}/{known}")
    moved = (await log_reader.head()).position - head

    again = await send(api, method, path, body)
    elsewhere = await send(other_process, method, path, body)

    for replayed in (again, elsewhere):
        assert replayed.headers["Idempotency-Replayed"] == "true"
        assert told(replayed) == told(first)
        if "X-Consistency-Token" in first.headers:
            assert token_of(settings, replayed) == token_of(settings, first)
        else:
            assert "X-Consistency-Token" not in replayed.headers
    assert (await log_reader.head()).position == head + moved


async def test_a_key_is_the_same_quoted_or_bare(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    for first, second in (
        ("abc", '"abc"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("my key 1", '"my key 1"'),
        ("x" * 255, f'"{"x" * 255}"'),
    ):
        made = await send(api, "POST", "", JANE, **{"Idempotency-Key": first})
        again = await send(api, "POST", "", JANE, **{"Idempotency-Key": second})
        assert again.json()["data"] == made.json()["data"]
        assert again.headers["Idempotency-Replayed"] == "true"

    assert (await log_reader.head()).position == 4


@pytest.mark.parametrize("key", ["", '"a', '""', '"a";p=1', "x" * 256, f'"{"x" * 256}"', "é"])
async def test_a_malformed_key_is_told_with_the_other_errors(
    api: httpx.AsyncClient, log_reader: LogReader, key: str
) -> None:
    headers = httpx.Headers({"Idempotency-Key": key}, encoding="utf-8")

    answer = await api.post(CUSTOMERS, json={"email": 7}, headers=headers)

    assert answer.status_code == 400
    assert [field for field, _, _ in errors(answer)] == ["email", "Idempotency-Key"]
    assert (await log_reader.head()).position == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [("", JANE | {"firstName": "Joe"}), ("?x=1", JANE), ("", {}), ("", None)],
)
async def test_another_body_or_query_is_422(
    api: httpx.AsyncClient, log_reader: LogReader, path: str, body: object
) -> None:
    await send(api, "POST", "", JANE)

    answer = await send(api, "POST", path, body)

    assert (answer.status_code, code_of(answer)) == (422, "idempotency_key_reused")
    assert (await log_reader.head()).position == 1


async def test_a_key_counts_for_one_workspace_method_and_path(
    api: httpx.AsyncClient, settings: Settings, log_reader: LogReader
) -> None:
    body = {"email": "jane@example.com"}
    path = f"/{(await send(api, 'POST', '', body)).json()['data']['id']}"
    foreign = {"X-Api-Key": make_key(settings, "globex")}
    sandbox = {"X-Api-Key": make_key(settings, test=True)}

    answers = [
        await send(api, "PUT", path, body),
        await send(api, "PATCH", path, body),
        await send(api, "POST", f"{path}/restore", None),
        await send(api, "POST", "", body, **foreign),
        await send(api, "POST", "", body, **sandbox),
    ]
    same_workspace = {"X-Api-Key": make_key(settings)}
    answers_again = await send(api, "POST", "", body, **same_workspace)

    assert [answer.status_code for answer in answers] == [200] * 5
    assert not any("Idempotency-Replayed" in answer.headers for answer in answers)
    assert "Idempotency-Replayed" in answers_again.headers
    assert (await log_reader.head()).position == 3


@pytest.mark.parametrize(
    ("path", "same", "other"),
    [
        ("/{id}", ["/{upper}", "/{id}/", "//{id}", "/{id}//"], "/{id}/restore"),
        ("/{id}/restore", ["/{upper}/restore/", "//{id}//restore"], "/{id}"),
        ("/external/a%2Fb", ["/external/a/b", "//external/%61/b"], "/external/a//b"),
        ("/external/a%2Fb", ["/external/a/%62"], "/external/A/b"),
        ("/external/a%2Fb", ["/external/a%2fb"], "/external/a/b/"),
    ],
)
async def test_a_path_is_the_same_however_it_is_spelled(
    api: httpx.AsyncClient, path: str, same: list[str], other: str
) -> None:
    known = await create(api)
    ids = {"id": known, "upper": known.upper()}
    method = "POST" if "restore" in path else "PUT"
    body = {"email": "jane@example.com"}
    first = await send(api, method, path.format(**ids), body)
    again = [await send(api, method, spelling.format(**ids), body) for spelling in same]
    elsewhere = await send(api, "POST" if "restore" in other else "PUT", other.format(**ids), body)

    assert first.status_code == 200
    assert [told(answer) for answer in again] == [told(first)] * len(same)
    assert all("Idempotency-Replayed" in answer.headers for answer in again)
    assert elsewhere.status_code == 200
    assert "Idempotency-Replayed" not in elsewhere.headers


@pytest.mark.parametrize(
    ("path", "body"),
    [("", {"email": "a@b.test", "odd": 1}), ("/bulk", [{"external_id": "a", **JANE}])],
)
@pytest.mark.parametrize("is_first_strict", [True, False])
async def test_a_kept_answer_says_how_the_first_request_was_read(
    api: httpx.AsyncClient, path: str, body: Any, is_first_strict: bool
) -> None:
    if is_first_strict and isinstance(body, dict):
        body = {"email": "a@b.test"}
    prefers = [{"Prefer": "handling=strict"}, {"Prefer": "handling=lenient"}]
    if not is_first_strict:
        prefers.reverse()
    first, again = [await send(api, "POST", path, body, **prefer) for prefer in prefers]

    assert told(again) == told(first)
    assert ("Preference-Applied" in first.headers) is is_first_strict
    assert ("Preference-Applied" in again.headers) is is_first_strict


async def test_a_refusal_is_not_kept_and_decided_anew(api: httpx.AsyncClient) -> None:
    holder = await create(api, external_id="key")
    body = {"email": "a@b.test", "external_id": "key"}

    taken = await send(api, "POST", "", body)
    wrong = await send(api, "POST", "", {"email": 7})
    await api.delete(f"{CUSTOMERS}/{holder}")
    free = await send(api, "POST", "", body)

    assert (taken.status_code, wrong.status_code, free.status_code) == (409, 400, 200)
    assert "Idempotency-Replayed" not in free.headers


async def test_while_the_first_still_runs_the_second_is_409_with_retry_after(
    api: httpx.AsyncClient, settings: Settings, log_reader: LogReader
) -> None:
    with connect_as_owner(settings, "test lock") as connection:
        # The lock under which everybody appends.
        connection.execute("SELECT pg_advisory_lock(730541, %s)", [settings.log_id])
        first = asyncio.create_task(send(api, "POST", "", JANE))

        async def waits() -> bool:
            row = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ).fetchone()
            return row is not None and row[0] == 1

        await until(waits)
        second = await send(api, "POST", "", JANE)
        other = asyncio.create_task(send(api, "POST", "", JANE, **{"Idempotency-Key": "other"}))
        connection.execute("SELECT pg_advisory_unlock(730541, %s)", [settings.log_id])
        done, others = await asyncio.gather(first, other)
    third = await send(api, "POST", "", JANE)

    assert (second.status_code, code_of(second)) == (409, "request_in_progress")
    assert int(second.headers["Retry-After"]) >= 1
    assert (done.status_code, others.status_code) == (200, 200)
    assert third.headers["Idempotency-Replayed"] == "true"
    assert (await log_reader.head()).position == 2


async def test_what_is_done_is_answered_to_however_many_ask_at_once(
    api: httpx.AsyncClient,
) -> None:
    first = await send(api, "POST", "", JANE)

    answers = await asyncio.gather(*(send(api, "POST", "", JANE) for _ in range(20)))

    assert [told(answer) for answer in answers] == [told(first)] * 20


async def test_of_two_processes_one_does_it_and_the_other_answers_the_same(
    api: httpx.AsyncClient, other_process: httpx.AsyncClient, log_reader: LogReader
) -> None:
    for n in range(5):
        key = {"Idempotency-Key": f"key-{n}"}
        answers = await asyncio.gather(
            *(send(client, "POST", "", JANE, **key) for client in (api, other_process))
        )
        assert [answer.status_code for answer in answers] == [200, 200]
        assert told(answers[0]) == told(answers[1])
        assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 1

    assert (await log_reader.head()).position == 5


async def test_a_kept_answer_comes_before_what_is_wrong_now(api: httpx.AsyncClient) -> None:
    path = f"/{await create(api)}"
    put = await send(api, "PUT", path, {"firstName": "Jane"})
    await send(api, "DELETE", path, None)

    gone = await send(api, "DELETE", path, None)
    absent = await send(api, "PUT", path, {"firstName": "Jane"})
    unaccepted = await send(
        api,
        "PUT",
        path,
        {"firstName": "Jane"},
        **{"Content-Type": "text/plain", "X-Actor": "x" * 257, "If-Match": '"77"'},
    )

    assert (gone.status_code, gone.json()["data"]) == (200, {"id": path[1:]})
    assert told(absent) == told(unaccepted) == told(put)


async def test_a_kept_answer_comes_behind_the_key_and_its_scope(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    await send(api, "POST", "", JANE)

    for key, status in ((make_key(settings, "acme", "customers:read"), 403), ("sk_live_x", 401)):
        answer = await send(api, "POST", "", JANE, **{"X-Api-Key": key})
        assert answer.status_code == status


async def test_the_answer_for_somebody_erased_since_is_410(
    api: httpx.AsyncClient, postgres_log: PostgresLog, log_reader: LogReader, keyring: Keyring
) -> None:
    made = await send(api, "POST", "", JANE)
    await erase(postgres_log, log_reader, keyring, made.json()["data"]["id"])

    again = await send(api, "POST", "", JANE)

    assert (again.status_code, code_of(again)) == (410, "customer_erased")
    assert "jane" not in again.text


@pytest.mark.parametrize("first", ["handling=strict", "handling=lenient"])
async def test_rows_are_answered_as_they_were_first_read(
    api: httpx.AsyncClient, first: str
) -> None:
    second = "handling=lenient" if first == "handling=strict" else "handling=strict"

    made = await send(api, "POST", "/bulk", NEW_ROWS, Prefer=first)
    again = await send(api, "POST", "/bulk", NEW_ROWS, Prefer=second)

    assert again.headers["Idempotency-Replayed"] == "true"
    assert told(again) == told(made)


async def test_neither_a_dry_run_nor_a_refused_atomic_call_uses_the_key_up(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    row = {"external_id": "a", "email": "a@b.test"}

    dry = await send(api, "POST", "/bulk?dry_run=true", [row])
    dry_again = await send(api, "POST", "/bulk?dry_run=true", [row])
    refused = await send(api, "POST", "/bulk?atomic=true", [row, 7])
    done = await send(api, "POST", "/bulk?atomic=true", [row])

    answers = (dry, dry_again, refused, done)
    assert [answer.status_code for answer in answers] == [200, 200, 400, 200]
    assert not any("Idempotency-Replayed" in answer.headers for answer in answers)
    assert (await log_reader.head()).position == 1


async def test_a_receipt_holds_nothing_of_a_person(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    await create(api, external_id="old")
    await send(api, "POST", "", JANE | {"external_id": "secret-id", "firstName": "Jane"})
    await send(api, "POST", "/bulk", NEW_ROWS)
    await send(api, "PUT", "/external/secret-too", JANE)

    with connect_as_owner(settings, "test receipts") as connection:
        kept = connection.execute("SELECT r::text FROM log.receipts r").fetchall()

    assert len(kept) == 3
    for (text,) in kept:
        for word in ("jane", "Jane", "secret", '"old"', "8e03978e", "nickname"):
            assert word not in text


async def test_a_body_that_is_too_long_is_413_and_uses_no_key_up(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    long = b'{"firstName":"%b"}' % (b"x" * 300_000)

    refused = await api.post(CUSTOMERS, content=long, headers=KEY | JSON)
    done = await send(api, "POST", "", JANE)
    again = await api.post(CUSTOMERS, content=long, headers=KEY | JSON)

    assert (refused.status_code, done.status_code, again.status_code) == (413, 200, 422)
    assert (await log_reader.head()).position == 1
