"""The published envelopes, member by member in their order."""

import json

from litestar.types import HTTPScope, Scope
from msgspec import Raw

from runtime.field_error import FieldError
from runtime.web.context import read_traceparent
from runtime.web.envelope import success_body
from runtime.web.headers import header, request_id
from runtime.web.problems import ApiError, ApiKeyRefused, unavailable


def scope_with(*headers: tuple[bytes, bytes]) -> Scope:
    """As much of an ASGI scope as reading headers takes."""
    scope: HTTPScope = {"headers": list(headers), "state": {}}  # pyright: ignore[reportAssignmentType] - a part of it
    return scope


def test_a_success_has_the_published_members_in_their_order() -> None:
    body = success_body({"id": 1}, message="Done", meta={"page": 1})
    assert body == (
        b'{"success":true,"status_code":200,"message":"Done","data":{"id":1},"meta":{"page":1}}'
    )


def test_data_that_is_json_already_is_put_in_as_it_is() -> None:
    document = b'{"n":1.50, "big":123456789012345678901234567890}'
    for data in (document, Raw(document)):
        assert document in success_body(data, message="", meta={})


def test_a_failure_has_the_published_members_in_their_order_and_ours_after_them() -> None:
    error = ApiError(
        "external_id_taken",
        "Taken",
        errors=[FieldError(field="external_id", error="taken", code="taken", pointer="/x")],
        meta={"version": 3},
        members={"existing_id": "7"},
    )
    assert error.body("r-1", "/customers/7") == (
        b'{"success":false,"status_code":409,"message":"Taken",'
        b'"errors":[{"field":"external_id","error":"taken","code":"taken","pointer":"/x"}],'
        b'"meta":{"version":3,"request_id":"r-1"},"existing_id":"7",'
        b'"type":"/problems/external_id_taken","title":"external_id taken","status":409,'
        b'"detail":"Taken","instance":"/customers/7"}'
    )


def test_a_refused_key_is_told_in_the_published_words_without_the_envelope() -> None:
    body = ApiKeyRefused(401, "Invalid or expired API key").body("r-1")
    assert body == (
        b'{"detail":"Invalid or expired API key","meta":{"request_id":"r-1"},'
        b'"type":"/problems/invalid_key","title":"Invalid API key","status":401}'
    )


def test_what_is_away_says_when_to_come_back() -> None:
    assert unavailable("Later").headers == {"Retry-After": "1"}
    assert unavailable("Later").status == 503


def test_a_body_names_what_the_client_sent_however_odd() -> None:
    error = ApiError(400, "é\x00", errors=[FieldError(field='"', error="\x85", code="c")])
    assert json.loads(error.body("r"))["errors"][0]["field"] == '"'


def test_a_well_formed_request_id_is_kept_and_any_other_replaced() -> None:
    for good in (b"a", b"A.b_c:d-9", b"x" * 128):
        assert request_id(scope_with((b"x-request-id", good))) == good.decode()
    for bad in (b"", b"x" * 129, b"a b", b"a\n", b"\xc3\xa9", b"a,b"):
        assert request_id(scope_with((b"x-request-id", bad))) != bad.decode()


def test_a_request_has_one_id_however_often_it_is_asked_for() -> None:
    scope = scope_with()
    assert request_id(scope) == request_id(scope)
    assert request_id(scope) != request_id(scope_with())


def test_a_header_that_comes_twice_is_one_value() -> None:
    scope = scope_with((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    assert header(scope, b"a") == b"1, 3"
    assert header(scope, b"c") is None


def test_a_traceparent_is_taken_when_the_standard_takes_it() -> None:
    ids = b"0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    good = b"00-" + ids
    later = b"cc-" + ids
    for given, taken in [(good, good), (later, later), (later + b"-what-the-future", later)]:
        assert read_traceparent(scope_with((b"traceparent", given))) == taken.decode()
    zero_trace = b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01"
    zero_parent = b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01"
    for bad in (b"", b"ff-" + ids, good + b"-x", good.upper(), zero_trace, zero_parent, good[:-1]):
        assert read_traceparent(scope_with((b"traceparent", bad))) is None
    assert read_traceparent(scope_with()) is None
