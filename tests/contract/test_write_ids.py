"""Writes at a path whose id is malformed: what is told first, and what is told beside it."""

import httpx
import pytest

from runtime.web.json_body import OBJECT_LIMIT
from tests.support.api import CUSTOMERS
from tests.support.writing import JSON, code_of, errors

OF_ID = ("customer_id", "invalid_id", None)
OF_EXTERNAL_ID = ("external_id", "control_character", None)
CHANGES = pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("PUT", "/zz", OF_ID),
        ("PATCH", "/zz", OF_ID),
        ("PUT", "/external/%00", OF_EXTERNAL_ID),
    ],
)
BODILESS = pytest.mark.parametrize(
    ("method", "path", "fault"),
    [
        ("DELETE", "/zz", OF_ID),
        ("POST", "/zz/restore", OF_ID),
        ("DELETE", "/external/%00", OF_EXTERNAL_ID),
    ],
)


@CHANGES
async def test_a_body_that_nobody_reads_is_told_before_a_malformed_id(
    api: httpx.AsyncClient, method: str, path: str, fault: object
) -> None:
    url = f"{CUSTOMERS}{path}"
    for keyed in ({}, {"Idempotency-Key": "k"}):
        text = {"Content-Type": "text/plain"} | keyed
        unread = await api.request(method, url, content=b"{}", headers=text)
        long = await api.request(
            method, url, content=b" " * (OBJECT_LIMIT + 1), headers=JSON | keyed
        )
        assert (unread.status_code, code_of(unread)) == (415, "unsupported_media_type")
        assert (long.status_code, code_of(long)) == (413, "body_too_long")


@CHANGES
async def test_a_malformed_id_is_told_with_all_else_that_is_wrong(
    api: httpx.AsyncClient, method: str, path: str, fault: tuple[str, str, None]
) -> None:
    headers = {"Prefer": "handling=strict", "X-Actor": "x" * 257, "If-Match": "3"}
    body = {"email": "x", "tags": [""], "nickname": "J"}

    answer = await api.request(method, f"{CUSTOMERS}{path}?a=1", json=body, headers=headers)

    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
    assert errors(answer) == [
        ("email", "invalid_email", "/email"),
        ("tags", "too_short", "/tags/0"),
        ("nickname", "unknown_field", "/nickname"),
        fault,
        ("X-Actor", "too_long", None),
        ("a", "unknown_parameter", None),
        ("If-Match", "malformed_etag", None),
    ]


@CHANGES
async def test_a_malformed_id_is_told_beside_a_body_that_is_no_json(
    api: httpx.AsyncClient, method: str, path: str, fault: tuple[str, str, None]
) -> None:
    answer = await api.request(method, f"{CUSTOMERS}{path}", content=b"{", headers=JSON)

    assert answer.status_code == 400
    assert errors(answer) == [("body", "invalid_json", ""), fault]


@CHANGES
async def test_of_nobody_no_email_or_phone_is_missed(
    api: httpx.AsyncClient, method: str, path: str, fault: tuple[str, str, None]
) -> None:
    for body in ({}, {"email": None}):
        answer = await api.request(method, f"{CUSTOMERS}{path}", json=body)
        assert (answer.status_code, errors(answer)) == (400, [fault])


@BODILESS
async def test_without_a_body_a_malformed_id_is_told_with_all_else_that_is_wrong(
    api: httpx.AsyncClient, method: str, path: str, fault: tuple[str, str, None]
) -> None:
    headers = {"X-Reason": "x" * 257, "If-Match": "3"}

    answer = await api.request(method, f"{CUSTOMERS}{path}?a=%01", headers=headers)

    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
    assert errors(answer) == [
        fault,
        ("X-Reason", "too_long", None),
        ("a", "control_character", None),
        ("If-Match", "malformed_etag", None),
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/zz", "A customer's id is a UUID such as 01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21."),
        ("/external/%00", "The external_id in the path holds control characters."),
        (f"/external/{'x' * 256}", "The external_id in the path has 256 characters; at most 255."),
    ],
)
async def test_the_message_says_which_id_is_malformed_beside_what_else_is_wrong(
    api: httpx.AsyncClient, path: str, message: str
) -> None:
    alone = await api.put(f"{CUSTOMERS}{path}", json={})
    beside = await api.put(f"{CUSTOMERS}{path}", json={"email": "x"})

    words = "email: An email address must have an @-sign."
    assert alone.json()["message"] == message
    assert beside.json()["message"] == f"{words} {message}"
