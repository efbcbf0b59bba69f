"""What a write says that nobody knows: ignored and listed, or refused when that is preferred."""

import httpx
import pytest

from events.log import LogReader
from tests.support.api import CUSTOMERS
from tests.support.writing import NOBODY, bulk, create, errors, row_errors

STRICT = {"Prefer": "handling=strict"}
ODD = {"email": "jane@example.com", "nickname": "J", "id": "x", "a/b": 1}


async def test_unknown_members_are_ignored_and_listed(api: httpx.AsyncClient) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"
    answers = [
        await api.post(CUSTOMERS, json=ODD),
        await api.put(path, json=ODD),
        await api.patch(path, json=ODD),
        await api.put(f"{CUSTOMERS}/external/key", json=ODD),
        await api.post(f"{CUSTOMERS}/bulk", json=[ODD | {"external_id": "b"}] * 2),
    ]

    for answer in answers:
        assert answer.status_code == 200
        assert answer.json()["meta"]["warnings"] == [
            "nickname is no field of a customer and was ignored.",
            "id is set by the service and was ignored.",
            "a/b is no field of a customer and was ignored.",
        ]
        assert "Preference-Applied" not in answer.headers


async def test_no_server_owned_field_can_be_set(api: httpx.AsyncClient) -> None:
    wished = {"id": NOBODY[-36:], "created_at": "2001-01-01T00:00:00Z", "version": 9}

    data = (await api.post(CUSTOMERS, json=ODD | wished)).json()["data"]

    assert data["version"] == 1
    assert not wished.items() & data.items()


async def test_under_strict_handling_each_is_refused(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    path = f"{CUSTOMERS}/{await create(api)}"
    answers = [
        await api.post(CUSTOMERS, json=ODD, headers=STRICT),
        await api.put(path, json=ODD, headers=STRICT),
        await api.patch(path, json=ODD, headers=STRICT),
        await api.put(f"{CUSTOMERS}/external/key", json=ODD, headers=STRICT),
    ]

    for answer in answers:
        assert answer.status_code == 400
        assert errors(answer) == [
            ("nickname", "unknown_field", "/nickname"),
            ("id", "read_only", "/id"),
            ("a/b", "unknown_field", "/a~1b"),
        ]
        assert answer.headers["Preference-Applied"] == "handling=strict"
    assert (await log_reader.head()).position == 1


async def test_under_strict_handling_what_is_known_is_done(api: httpx.AsyncClient) -> None:
    answer = await api.post(CUSTOMERS, json={"email": "a@b.test"}, headers=STRICT)

    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "handling=strict"


async def test_refusals_of_unknown_members_stand_beside_the_other_errors(
    api: httpx.AsyncClient,
) -> None:
    wrong = {"tags": [""], "nickname": "J"}

    answer = await api.post(f"{CUSTOMERS}?page=1", json=wrong, headers=STRICT | {"X-Actor": "\1"})

    assert sorted(code for _, code, _ in errors(answer)) == [
        "contact_required",
        "contact_required",
        "control_character",
        "too_short",
        "unknown_field",
        "unknown_parameter",
    ]


async def test_in_bulk_an_unknown_member_fails_its_row_alone(api: httpx.AsyncClient) -> None:
    rows = [ODD | {"external_id": "a"}, {"external_id": "b", "email": "a@b.test"}]

    data = await bulk(api, *rows, **STRICT)

    assert [row["status"] for row in data["results"]] == ["failed", "created"]
    assert row_errors(data["results"][0]) == [
        ("nickname", "unknown_field", "/0/nickname"),
        ("id", "read_only", "/0/id"),
        ("a/b", "unknown_field", "/0/a~1b"),
    ]


async def test_in_bulk_an_unknown_member_beside_the_rows_refuses_the_call(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    body = {"customers": [{"external_id": "a", "email": "a@b.test"}], "mode": "fast", "id": 1}

    refused = await api.post(f"{CUSTOMERS}/bulk", json=body, headers=STRICT)
    assert (await log_reader.head()).position == 0
    ignored = await api.post(f"{CUSTOMERS}/bulk", json=body)

    assert refused.status_code == 400
    assert errors(refused) == [("mode", "unknown_field", "/mode"), ("id", "unknown_field", "/id")]
    assert refused.json()["message"] == "mode, id: No member of a bulk body has this name."
    assert ignored.json()["meta"]["warnings"] == [
        "mode is no member of a bulk body and was ignored.",
        "id is no member of a bulk body and was ignored.",
    ]


async def test_in_bulk_what_is_beside_the_rows_is_told_apart_from_what_is_in_them(
    api: httpx.AsyncClient,
) -> None:
    row = {"external_id": "a", "email": "a@b.test", "mode": 1}
    body = {"customers": [row]} | {f"m{n}": 1 for n in range(21)} | {"mode": 1}

    ignored = await api.post(f"{CUSTOMERS}/bulk", json=body)
    refused = await api.post(f"{CUSTOMERS}/bulk", json=body, headers=STRICT)

    assert ignored.json()["meta"]["warnings"][19:] == [
        "m19 is no member of a bulk body and was ignored.",
        "2 more members were ignored.",
        "mode is no field of a customer and was ignored.",
    ]
    assert refused.json()["errors"][20]["error"] == "2 more are no members of a bulk body."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ""),
        ("PUT", "/{id}"),
        ("PATCH", "/{id}"),
        ("DELETE", "/{id}"),
        ("POST", "/{id}/restore"),
        ("POST", "/bulk"),
        ("PUT", "/external/key"),
        ("DELETE", "/external/key"),
    ],
)
async def test_unknown_parameters_are_ignored_and_listed_or_refused(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    customer_id = await create(api, external_id="key")
    url = f"{CUSTOMERS}{path.format(id=customer_id)}?dryrun=true"
    body = [{"external_id": "b"}] if path == "/bulk" else {"email": "a@b.test"}

    refused = await api.request(method, url, json=body, headers=STRICT)
    ignored = await api.request(method, url, json=body)

    assert refused.status_code == 400
    assert errors(refused) == [("dryrun", "unknown_parameter", None)]
    assert ignored.status_code == 200
    assert ["dryrun" in warning for warning in ignored.json()["meta"]["warnings"]] == [True]


async def test_ignored_members_are_named_but_not_without_end(api: httpx.AsyncClient) -> None:
    many = {f"member{n}" + "x" * 200: 1 for n in range(1000)}

    ignored = await api.post(CUSTOMERS, json={"email": "a@b.test", "id": "x", **many})
    refused = await api.post(CUSTOMERS, json=many, headers=STRICT)

    warnings = ignored.json()["meta"]["warnings"]
    assert warnings[0] == "id is set by the service and was ignored."
    assert warnings[-1] == "981 more members were ignored."
    assert len(ignored.content) < 3000
    codes = [error["code"] for error in refused.json()["errors"]]
    assert codes == ["unknown_field"] * 21 + ["contact_required"] * 2
    assert refused.json()["errors"][20]["error"] == "980 more are no fields of a customer."
    assert len(refused.json()["message"]) < 200


async def test_what_a_row_was_refused_for_is_not_said_to_have_been_ignored(
    api: httpx.AsyncClient,
) -> None:
    row = {"external_id": "b", "email": "jane@example.com", "nickname": "J"}
    key = {"Idempotency-Key": "k"}

    first = await api.post(f"{CUSTOMERS}/bulk", json=[row], headers=STRICT | key)
    again = await api.post(f"{CUSTOMERS}/bulk", json=[row], headers=key)

    for answer in (first, again):
        assert answer.json()["data"]["failed"] == 1
        assert "warnings" not in answer.json()["meta"]
