"""POST /customers/bulk: many customers by external_id, one command."""

import asyncio
from typing import Any

import httpx
import pytest

from events.envelope import Position
from events.log import LogReader
from tests.support.api import CUSTOMERS
from tests.support.writing import bulk, code_of, create, errors, row_errors

BULK = f"{CUSTOMERS}/bulk"
JANE = {"email": "jane@example.com"}


def a_file(rows: int) -> list[dict[str, Any]]:
    """So many different customers."""
    return [{"external_id": f"c-{n}", "email": f"c{n}@example.com"} for n in range(rows)]


def statuses(data: Any) -> list[str]:
    """What became of each row."""
    return [row["status"] for row in data["results"]]


async def test_unknown_is_created_known_is_updated_equal_is_unchanged(
    api: httpx.AsyncClient,
) -> None:
    await bulk(api, {"external_id": "a", **JANE}, {"external_id": "b", **JANE})

    answer = await api.post(
        BULK,
        json=[
            {"external_id": "a", "custom_fields": {"x": 1}},
            {"external_id": "b", **JANE},
            {"external_id": "c", **JANE},
        ],
    )

    body = answer.json()
    results = body["data"].pop("results")
    assert (body["message"], body["success"]) == ("3 customers processed", True)
    assert list(body["data"].items()) == [
        ("total", 3),
        ("created", 1),
        ("updated", 1),
        ("unchanged", 1),
        ("failed", 0),
    ]
    assert [list(row) for row in results] == [
        ["index", "external_id", "status", "id", "version"]
    ] * 3
    assert [(row["external_id"], row["status"], row["version"]) for row in results] == [
        ("a", "updated", 2),
        ("b", "unchanged", 1),
        ("c", "created", 1),
    ]


async def test_resending_the_same_file_changes_nothing(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    # A null in custom_fields is a value at first, and removes nothing that is not there.
    rows = [row | {"custom_fields": {"a": None, "b": [None]}} for row in a_file(500)]
    first = await bulk(api, *rows)
    again = await bulk(api, *rows)

    assert (first["created"], again["unchanged"]) == (500, 500)
    assert [row["id"] for row in again["results"]] == [row["id"] for row in first["results"]]
    assert (await log_reader.head()).position == 500


async def test_one_changed_row_is_one_event(api: httpx.AsyncClient, log_reader: LogReader) -> None:
    rows = a_file(20)
    await bulk(api, *rows)
    rows[7]["firstName"] = "Jane"

    data = await bulk(api, *rows)

    assert (data["updated"], data["unchanged"]) == (1, 19)
    assert data["results"][7]["version"] == 2
    assert (await log_reader.head()).position == 21


async def test_rows_come_bare_or_in_an_object(api: httpx.AsyncClient) -> None:
    bare = await api.post(BULK, json=[{"external_id": "a"}])
    wrapped = await api.post(BULK, json={"customers": [{"external_id": "a"}]})

    for answer, pointer in ((bare, "/0/email"), (wrapped, "/customers/0/email")):
        (row,) = answer.json()["data"]["results"]
        assert row_errors(row)[0] == ("email", "contact_required", pointer)


@pytest.mark.parametrize("rows", [0, 501, 2000])
async def test_a_call_takes_1_to_500_rows(
    api: httpx.AsyncClient, log_reader: LogReader, rows: int
) -> None:
    for body in (a_file(rows), {"customers": a_file(rows)}):
        answer = await api.post(BULK, json=body)
        assert answer.status_code == 400
        assert code_of(answer) == "invalid_request"
        assert "500" in answer.json()["errors"][0]["error"]

    assert (await log_reader.head()).position == 0


async def test_a_bad_row_fails_alone_and_answers_are_in_request_order(
    api: httpx.AsyncClient,
) -> None:
    rows = [
        {"external_id": "a", **JANE},
        {"email": "no-key@b.test"},
        {"external_id": "b", "email": "x"},
        7,
        {"external_id": "c"},
        {"external_id": "a", "phone": "+15550001234"},
        {"external_id": 7, **JANE},
        {"external_id": None, **JANE},
        {"external_id": "", **JANE},
        None,
        [],
    ]

    answer = await api.post(BULK, json={"customers": rows})

    data = answer.json()["data"]
    assert answer.status_code == 200
    assert (data["total"], data["created"], data["updated"], data["failed"]) == (11, 1, 1, 9)
    assert [row["index"] for row in data["results"]] == list(range(11))
    assert [(row["index"], *row_errors(row)) for row in data["results"] if "errors" in row] == [
        (1, ("external_id", "required", "/customers/1/external_id")),
        (2, ("email", "invalid_email", "/customers/2/email")),
        (3, ("body", "not_an_object", "/customers/3")),
        (
            4,
            ("email", "contact_required", "/customers/4/email"),
            ("phone", "contact_required", "/customers/4/phone"),
        ),
        (6, ("external_id", "wrong_type", "/customers/6/external_id")),
        (7, ("external_id", "required", "/customers/7/external_id")),
        (8, ("external_id", "too_short", "/customers/8/external_id")),
        (9, ("body", "not_an_object", "/customers/9")),
        (10, ("body", "not_an_object", "/customers/10")),
    ]
    assert data["results"][2]["external_id"] == "b"


async def test_a_row_that_holds_what_cannot_be_kept_fails_alone_with_all_that_is_wrong(
    api: httpx.AsyncClient,
) -> None:
    text = (
        '[{"external_id":"a","email":"x","firstName":"\\u0000","lastName":"a","lastName":"b"},'
        '{"external_id":"b","email":"a@b.test"},'
        '{"external_id":"\\ud800","email":"a@b.test"}]'
    )

    answer = await api.post(BULK, content=text, headers={"Content-Type": "application/json"})

    data = answer.json()["data"]
    assert statuses(data) == ["failed", "created", "failed"]
    assert sorted(code for _, code, _ in row_errors(data["results"][0])) == [
        "control_character",
        "duplicate_key",
        "invalid_email",
    ]
    assert row_errors(data["results"][2]) == [("external_id", "lone_surrogate", "/2/external_id")]


@pytest.mark.parametrize("depth", [101, 989, 1000, 50_000])
async def test_a_row_nested_too_deep_fails_alone(api: httpx.AsyncClient, depth: int) -> None:
    deep = b'{"external_id":"deep","custom_fields":{"]":%b%b}}' % (b"[" * depth, b"]" * depth)
    good = b'{"external_id":"good","email":"jane@example.com"}'
    for body, place in ((b"[%b,%b]", ""), (b'{"customers":[%b,%b]}', "/customers")):
        answer = await api.post(
            BULK, content=body % (deep, good), headers={"Content-Type": "application/json"}
        )
        failed, done = answer.json()["data"]["results"]
        assert row_errors(failed) == [("body", "too_deep", f"{place}/0")]
        assert done["status"] in {"created", "unchanged"}


async def test_bad_json_behind_the_rows_is_told_at_its_place(api: httpx.AsyncClient) -> None:
    body = b'{"customers":[\n{"external_id":"a"},\n{"external_id":"b"}\n],\n"x":}'

    answer = await api.post(BULK, content=body, headers={"Content-Type": "application/json"})

    assert "(line 5, column 5)" in answer.json()["message"]


async def test_the_second_row_of_a_key_updates_what_the_first_made(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    data = await bulk(
        api,
        {"external_id": "a", **JANE, "custom_fields": {"x": 1}},
        {"external_id": "a", "custom_fields": {"y": 2}},
        {"external_id": "a", "custom_fields": {"y": 2}},
        {"external_id": "A", **JANE},
    )

    assert statuses(data) == ["created", "updated", "unchanged", "created"]
    assert [row["version"] for row in data["results"]] == [1, 2, 2, 1]
    assert len({row["id"] for row in data["results"][:3]}) == 1
    same = await api.put(
        f"{CUSTOMERS}/{data['results'][0]['id']}", json={"custom_fields": {"x": 1}}
    )
    assert same.json()["data"]["custom_fields"] == {"x": 1, "y": 2}
    assert (await log_reader.head()).position == 3


async def test_a_row_may_update_what_a_failed_row_of_its_key_left_alone(
    api: httpx.AsyncClient,
) -> None:
    data = await bulk(api, {"external_id": "a"}, {"external_id": "a", **JANE})

    assert statuses(data) == ["failed", "created"]


async def test_the_external_id_of_a_deleted_customer_makes_a_new_one(
    api: httpx.AsyncClient,
) -> None:
    deleted = await create(api, external_id="a")
    await api.delete(f"{CUSTOMERS}/{deleted}")

    (row,) = (await bulk(api, {"external_id": "a", **JANE}))["results"]

    assert (row["status"], row["version"]) == ("created", 1)
    assert row["id"] != deleted


async def test_two_identical_calls_at_once_make_no_doubles(
    api: httpx.AsyncClient, other_process: httpx.AsyncClient, log_reader: LogReader
) -> None:
    answers = await asyncio.gather(
        *(client.post(BULK, json=a_file(100)) for client in (api, other_process) * 2)
    )

    data = [answer.json()["data"] for answer in answers]
    assert sum(each["created"] for each in data) == 100
    assert sum(each["unchanged"] for each in data) == 300
    assert len({row["id"] for each in data for row in each["results"]}) == 100
    assert (await log_reader.head()).position == 100


async def test_a_call_is_one_command(api: httpx.AsyncClient, log_reader: LogReader) -> None:
    await bulk(api, *a_file(30))

    events = await log_reader.read_after(Position(0), 100)

    assert len(events) == 30
    assert len({keyed.stored.command_id for keyed in events}) == 1


@pytest.mark.parametrize(
    ("if_version", "code"),
    [
        (0, "out_of_range"),
        (-1, "out_of_range"),
        (2**31, "out_of_range"),
        ("1", "wrong_type"),
        (1.0, "wrong_type"),
        (True, "wrong_type"),
        (None, "wrong_type"),
        ([1], "wrong_type"),
        (2, "version_mismatch"),
    ],
)
async def test_a_row_with_another_if_version_than_its_customer_fails_alone(
    api: httpx.AsyncClient, log_reader: LogReader, if_version: object, code: str
) -> None:
    await create(api, external_id="a")
    rows = [
        {"external_id": "b", **JANE},
        {"external_id": "a", "firstName": "Jane", "if_version": if_version},
    ]

    data = (await api.post(BULK, json={"customers": rows})).json()["data"]

    assert statuses(data) == ["created", "failed"]
    assert row_errors(data["results"][1]) == [("if_version", code, "/customers/1/if_version")]
    assert (await log_reader.head()).position == 2


async def test_a_row_with_the_if_version_of_its_customer_is_done(api: httpx.AsyncClient) -> None:
    await create(api, external_id="a")

    data = await bulk(
        api,
        {"external_id": "a", "firstName": "Jane", "if_version": 1},
        {"external_id": "a", "firstName": "Joan", "if_version": 1},
        {"external_id": "a", "firstName": "Jean", "if_version": 2},
        {"external_id": "a", "if_version": 3},
    )

    assert statuses(data) == ["updated", "failed", "updated", "unchanged"]


async def test_a_row_with_an_if_version_makes_no_customer(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    data = await bulk(api, {"external_id": "a", "if_version": 1, **JANE})

    (row,) = data["results"]
    assert row_errors(row) == [("if_version", "version_mismatch", "/0/if_version")]
    assert (await log_reader.head()).position == 0


async def test_all_that_is_wrong_with_a_row_is_told_at_once(api: httpx.AsyncClient) -> None:
    wide = dict.fromkeys(map(str, range(101)))

    data = await bulk(
        api, {"external_id": "a", "tags": [1], "custom_fields": wide, "if_version": "x"}
    )

    (row,) = data["results"]
    assert [pointer for _, _, pointer in row_errors(row)] == [
        "/0/tags/0",
        "/0/if_version",
        "/0/email",
        "/0/phone",
        "/0/custom_fields",
    ]


async def test_an_atomic_call_with_a_bad_row_writes_nothing_and_tells_of_all_bad_rows(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    good = {"external_id": "a", **JANE}
    rows = [good, {"external_id": "b"}, 7, {"external_id": "a", "tags": 1}]

    refused = await api.post(f"{BULK}?atomic=true", json=rows)
    mismatch = await api.post(f"{BULK}?atomic=true", json=[good | {"if_version": 3}])

    assert refused.status_code == 400
    assert [pointer for _, _, pointer in errors(refused)] == [
        "/1/email",
        "/1/phone",
        "/2",
        "/3/tags",
    ]
    assert (mismatch.status_code, errors(mismatch)[0][1]) == (400, "version_mismatch")
    assert (await log_reader.head()).position == 0


async def test_an_atomic_call_without_a_bad_row_writes_all(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    answer = await api.post(f"{BULK}?atomic=true", json=a_file(10))

    assert answer.json()["data"]["created"] == 10
    assert (await log_reader.head()).position == 10


async def test_a_dry_run_answers_the_same_and_writes_nothing(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    await create(api, external_id="known")
    rows = [
        {"external_id": "a", **JANE},
        {"external_id": "b"},
        {"external_id": "known", "firstName": "Jane"},
        {"external_id": "a", "firstName": "Jane"},
    ]

    dry = (await api.post(f"{BULK}?dry_run=true", json=rows)).json()
    assert (await log_reader.head()).position == 1
    done = (await api.post(BULK, json=rows)).json()

    for body in (dry, done):
        body["data"]["results"][0].pop("id")
        body["data"]["results"][3].pop("id")
        body.pop("meta")
    assert dry == done
    assert statuses(done["data"]) == ["created", "failed", "updated", "updated"]


async def test_an_atomic_dry_run_is_refused_as_the_real_one_would_be(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.post(f"{BULK}?atomic=true&dry_run=true", json=[{"external_id": "b"}])

    assert answer.status_code == 400


async def test_options_are_true_or_false_and_nothing_else(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    for query in ("dry_run=yes", "atomic=1", "atomic=true&atomic=true", "dry_run"):
        answer = await api.post(f"{BULK}?{query}", json=a_file(1))
        assert (answer.status_code, errors(answer)[0][0]) == (400, query.split("=")[0])

    assert (await log_reader.head()).position == 0
    assert (await api.post(f"{BULK}?dry_run=false", json=a_file(1))).status_code == 200


async def test_what_is_wrong_around_the_rows_is_told_at_once(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        f"{BULK}?dry_run=x", json=[], headers={"X-Reason": "x" * 257, "Idempotency-Key": '"a'}
    )

    assert answer.status_code == 400
    assert sorted(errors(answer), key=str) == [
        ("Idempotency-Key", "malformed_key", None),
        ("X-Reason", "too_long", None),
        ("body", "row_count", ""),
        ("dry_run", "unknown_value", None),
    ]
