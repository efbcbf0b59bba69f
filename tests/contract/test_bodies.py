"""Bodies are read strictly: what is taken, what is refused, and with which words."""

import httpx

from runtime.web.json_body import BULK_LIMIT, OBJECT_LIMIT
from tests.support.api import CUSTOMERS

BULK = f"{CUSTOMERS}/bulk"
JSON = {"Content-Type": "application/json"}


async def refused(api: httpx.AsyncClient, body: bytes, path: str = CUSTOMERS) -> set[str]:
    """The codes of the errors with which a body is refused."""
    answer = await api.post(path, content=body, headers=JSON)
    assert answer.status_code == 400, body[:100]
    assert answer.json()["message"].endswith(".")
    assert answer.json()["errors"]
    return {error["code"] for error in answer.json()["errors"]}


async def test_no_body_is_told_as_such(api: httpx.AsyncClient) -> None:
    for body in (b"", b" \r\n\t"):
        for path in (CUSTOMERS, BULK):
            assert await refused(api, body, path) == {"empty_body"}
    assert (await api.post(CUSTOMERS)).status_code == 415


async def test_a_body_that_is_not_called_json_is_415(api: httpx.AsyncClient) -> None:
    for name in (
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json, text/plain",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/vnd.acme+json",
        "application/json; charset=latin-1",
        'application/json;charset="utf-16"',
        'application/json; charset="us-ascii"',
    ):
        headers = {} if name is None else {"Content-Type": name}
        for path in (CUSTOMERS, BULK):
            answer = await api.post(path, content=b"{}", headers=headers)
            assert answer.status_code == 415, name
            assert answer.json()["type"] == "/problems/unsupported_media_type"
            assert answer.headers["accept"] == "application/json"


async def test_every_name_of_json_is_taken(api: httpx.AsyncClient) -> None:
    for name in (
        "application/json",
        "Application/JSON; Charset=UTF-8",
        'application/json;charset="utf-8"; v=1',
    ):
        body = b'{"phone":"+15550001234"}'
        answer = await api.post(CUSTOMERS, content=body, headers={"Content-Type": name})
        assert answer.status_code == 200, name
        assert "accept" not in answer.headers


async def test_a_compressed_body_is_415(api: httpx.AsyncClient) -> None:
    for coding in ("gzip", "br", "deflate", "identity, gzip"):
        headers = {**JSON, "Content-Encoding": coding}
        for path in (CUSTOMERS, BULK):
            answer = await api.post(path, content=b"\x1f\x8b", headers=headers)
            assert answer.status_code == 415
            assert answer.headers["accept-encoding"] == "identity"


async def test_bad_utf8_is_refused(api: httpx.AsyncClient) -> None:
    for text in (b'{"email":"\xff"}', b'{"email":"\xed\xa0\x80"}', "{}".encode("utf-16")):
        assert await refused(api, text) == {"invalid_utf8"}
    for text in (b"\xef\xbb\xbf{}", "{}".encode("utf-16-be")):
        assert await refused(api, text) == {"invalid_json"}


async def test_bad_json_is_refused_with_its_line_and_column(api: httpx.AsyncClient) -> None:
    for body in (b"{", b"{]", b'{"email":1,}', b"{'email':1}", b'{"email":NaN}', b'{"email":01}'):
        assert await refused(api, body) == {"invalid_json"}
    answer = await api.post(CUSTOMERS, content=b'{\n  "email": tru }', headers=JSON)
    assert "(line 2, column " in answer.json()["message"]


async def test_what_is_no_object_is_refused(api: httpx.AsyncClient) -> None:
    for body in (b"[]", b"null", b'"x"', b"3", b"true"):
        assert await refused(api, body) == {"not_an_object"}


async def test_a_member_that_is_there_twice_is_refused(api: httpx.AsyncClient) -> None:
    for body in (
        b'{"email":"a@example.com","email":"b@example.com"}',
        b'{"email":"a@example.com","\\u0065mail":"a@example.com"}',
        b'{"email":"a@example.com","custom_fields":{"a":{"b":1,"b":1}}}',
    ):
        assert "duplicate_key" in await refused(api, body)


async def test_nul_control_characters_and_lone_surrogates_are_refused(
    api: httpx.AsyncClient,
) -> None:
    for member in ("email", "firstName", "external_id", "tags", "custom_fields", "no_field"):
        for text in ("\\u0000", "\\u001f", "\\u007f", "\x85"):
            body = f'{{"phone":"+15550001234","{member}":["{text}"]}}'.encode()
            assert "control_character" in await refused(api, body)
        body = f'{{"phone":"+15550001234","{member}":["\\ud800"]}}'.encode()
        assert "lone_surrogate" in await refused(api, body)


async def test_tab_and_newline_are_taken_in_custom_fields_only(api: httpx.AsyncClient) -> None:
    body = b'{"phone":"+15550001234","custom_fields":{"note":"a\\tb\\nc"}}'
    answer = await api.post(CUSTOMERS, content=body, headers=JSON)
    assert answer.json()["data"]["custom_fields"] == {"note": "a\tb\nc"}
    body = b'{"phone":"+15550001234","firstName":"a\\tb"}'
    assert await refused(api, body) == {"control_character"}


async def test_faults_of_the_text_are_told_together_with_those_of_the_fields(
    api: httpx.AsyncClient,
) -> None:
    body = b'{"email":"\\u0000","phone":3,"firstName":"a","firstName":"b","tags":[""]}'
    answer = await api.post(CUSTOMERS, content=body, headers=JSON)
    assert answer.status_code == 400
    told = {(error["pointer"], error["code"]) for error in answer.json()["errors"]}
    assert told == {
        ("/email", "control_character"),
        ("/phone", "wrong_type"),
        ("/firstName", "duplicate_key"),
        ("/tags/0", "too_short"),
    }


async def test_a_hundred_levels_are_taken_and_a_thousand_refused(api: httpx.AsyncClient) -> None:
    def nested(depth: int) -> bytes:
        inner = b"[" * (depth - 2) + b"]" * (depth - 2)
        return b'{"phone":"+15550001234","custom_fields":{"a":%b}}' % inner

    assert (await api.post(CUSTOMERS, content=nested(100), headers=JSON)).status_code == 200
    for depth in (101, 1_000, 100_000):
        assert await refused(api, nested(depth)) == {"too_deep"}
    assert await refused(api, b"[" * 1000, BULK) == {"too_deep"}


async def test_a_body_may_have_256_kib_and_not_a_byte_more(api: httpx.AsyncClient) -> None:
    body = b'{"phone":"+15550001234"'
    longest = body + b" " * (OBJECT_LIMIT - len(body) - 1) + b"}"
    assert len(longest) == OBJECT_LIMIT == 256 * 1024
    assert (await api.post(CUSTOMERS, content=longest, headers=JSON)).status_code == 200
    answer = await api.post(CUSTOMERS, content=longest + b" ", headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/body_too_long"
    assert "256 KiB" in answer.json()["message"]


async def test_a_bulk_body_may_have_5_mib_and_not_a_byte_more(api: httpx.AsyncClient) -> None:
    body = b'[{"external_id":"a","phone":"+15550001234"}'
    longest = body + b" " * (BULK_LIMIT - len(body) - 1) + b"]"
    assert len(longest) == BULK_LIMIT == 5 * 1024 * 1024
    assert (await api.post(BULK, content=longest, headers=JSON)).status_code == 200
    answer = await api.post(BULK, content=longest + b" ", headers=JSON)
    assert answer.status_code == 413
    assert "5 MiB" in answer.json()["message"]


async def test_numbers_in_custom_fields_keep_every_digit(api: httpx.AsyncClient) -> None:
    number = b"-123456789012345678901234567890.12345678901234567890e-400"
    body = b'{"phone":"+15550001234","custom_fields":{"n":%b}}' % number
    answer = await api.post(CUSTOMERS, content=body, headers=JSON)
    assert b'"n":%b' % number in answer.content
