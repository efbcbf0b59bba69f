"""Strict JSON bodies: what is taken, what is refused, and that nothing else can happen."""

import json
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from command_side.bulk_body import Rows, parse_rows
from runtime.field_error import FieldError
from runtime.web.problems import ApiError
from runtime.web.strict_json import DEEPEST, read_members

Result = TypeVar("Result")

CREATE_BODY = b"""{
  "email": "jane@example.com",
  "firstName": "Jane",
  "lastName": "Doe",
  "phone": "+15550001234",
  "companyName": "Acme Corp",
  "external_id": "cust-001",
  "tags": ["vip"],
  "custom_fields": { "account_type": "premium" },
  "communication_preferences": { "sms": true, "email": true, "voice": false }
}"""


def members_of(body: bytes) -> dict[str, Raw]:
    """The members of a body; one with any fault is refused."""
    members, faults = read_members(body)
    if faults:
        raise ApiError(400, faults[0].error, errors=faults)
    return members


def rows_of(body: bytes) -> Rows:
    return parse_rows(body, member="customers", most=500)


def refusal(parse: Callable[[bytes], object], body: bytes) -> tuple[FieldError, ...]:
    """The errors with which a body is refused."""
    with pytest.raises(ApiError) as refused:
        parse(body)
    assert refused.value.status == 400
    assert refused.value.message == refused.value.errors[0].error
    return refused.value.errors


def nested(depth: int) -> bytes:
    """An object that is `depth` deep, itself counted."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_the_members_of_the_reference_body_are_taken_as_they_were_sent() -> None:
    members = members_of(CREATE_BODY)
    assert list(members) == list(json.loads(CREATE_BODY))
    assert bytes(members["custom_fields"]) == b'{ "account_type": "premium" }'


def test_every_digit_of_a_number_is_kept() -> None:
    number = b"-" + b"9" * 6000 + b".25e-400"
    assert bytes(members_of(b'{"n":' + number + b"}")["n"]) == number


def test_tab_and_newline_and_every_other_character_are_taken() -> None:
    body = '{"a":"\\t\\n \\"\\\\ \\u00e9 \\ud83d\\ude00 é 😀 \u2028 \\\\u0000 \\\\b"}'.encode()
    assert set(members_of(body)) == {"a"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b" \r\n\t", "empty_body"),
        ("\u00a0".encode(), "empty_body"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"a":1,}', "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b"{a:1}", "invalid_json"),
        (b'{"a":1}{}', "invalid_json"),
        (b'{"a":01}', "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":-Infinity}', "invalid_json"),
        (b'{"a":"\x00"}', "invalid_json"),
        (b'{"a":"\n"}', "invalid_json"),
        (b'{"a":"\\x41"}', "invalid_json"),
        (b'{"a":"\\u00"}', "invalid_json"),
        (b'{"a":"\xff"}', "invalid_utf8"),
        (b'{"a":"\xed\xa0\x80"}', "invalid_utf8"),
        (b'{"a":{"b":"\xc0\x80"}}', "invalid_utf8"),
        (b"[]", "not_an_object"),
        (b" null", "not_an_object"),
        (b'"x"', "not_an_object"),
        (b"-3", "not_an_object"),
        (b"true", "not_an_object"),
    ],
)
def test_what_is_no_json_object_is_refused_with_a_sentence(body: bytes, code: str) -> None:
    (error,) = refusal(members_of, body)
    assert error.code == code
    assert error.pointer == ""
    assert error.error.endswith(".")


def test_bad_syntax_is_told_with_its_line_and_column() -> None:
    (error,) = refusal(members_of, '{\n  "é": tru }'.encode())
    assert "line 2, column 9" in error.error


@pytest.mark.parametrize(
    ("body", "code", "pointer", "field"),
    [
        (b'{"a":"\\u0000"}', "control_character", "/a", "a"),
        (b'{"a":"\\u001F"}', "control_character", "/a", "a"),
        (b'{"a":"\\r"}', "control_character", "/a", "a"),
        (b'{"a":"\x7f"}', "control_character", "/a", "a"),
        ('{"a":"\u0085"}'.encode(), "control_character", "/a", "a"),
        (b'{"a":{"b":[1,"\\b"]}}', "control_character", "/a/b/1", "a"),
        (b'{"a":{"x/y~z":"\\f"}}', "control_character", "/a/x~1y~0z", "a"),
        (b'{"a":{"\\u0000":1}}', "control_character", "/a/\x00", "a"),
        (b'{"\\u0000":1}', "control_character", "/\x00", "\x00"),
        (b'{"a":"\\ud800"}', "lone_surrogate", "/a", "a"),
        (b'{"a":"\\udc00\\ud800"}', "lone_surrogate", "/a", "a"),
        (b'{"a":["x",{"b":"\\ud83d\\u0041"}]}', "lone_surrogate", "/a/1/b", "a"),
        (b'{"a":{"\\udfff":1}}', "lone_surrogate", "/a/\\udfff", "a"),
        (b'{"a":1,"a":1}', "duplicate_key", "/a", "a"),
        (b'{"a":1,"\\u0061":2}', "duplicate_key", "/a", "a"),
        (b'{"a":[{"b":{"c":1,"c":2}}]}', "duplicate_key", "/a/0/b/c", "a"),
        (b'{"":1,"":2}', "duplicate_key", "/", "body"),
    ],
)
def test_what_two_readers_could_read_differently_is_refused_where_it_stands(
    body: bytes, code: str, pointer: str, field: str
) -> None:
    (error,) = refusal(members_of, body)
    assert (error.code, error.pointer, error.field) == (code, pointer, field)


def test_all_faults_of_a_body_are_told_at_once() -> None:
    errors = refusal(members_of, b'{"a":"\\u0000","b":{"c":1,"c":"\\u0001"},"a":2}')
    assert [error.pointer for error in errors] == ["/a", "/b/c", "/b/c", "/a"]


@pytest.mark.parametrize(
    "fault",
    ['"\\u0000"', '"\\ud800"', '{"x":["\\r"]}', '{"x":1,"x":2}', '1,"bad":2', '{"\\udfff":1}'],
)
def test_members_beside_a_fault_are_handed_on_as_they_were_sent(fault: str) -> None:
    shape = '{ "a" : 1.50e3 ,"\\u00e9":[ "é\\n" ],"bad" : %b , "z":{"k": "\\ud83d\\ude00"}}'
    members, (error,) = read_members(shape.encode() % fault.encode())
    assert {name: bytes(raw).decode() for name, raw in members.items()} == {
        "a": "1.50e3",
        "é": '[ "é\\n" ]',
        "z": '{"k": "\\ud83d\\ude00"}',
    }
    assert error.field == "bad"


def test_more_faults_than_are_told_leave_no_faulty_member() -> None:
    faulty = ",".join(f'"m{number}":"\\u0000"' for number in range(50))
    members, faults = read_members(f'{{{faulty},"a":1}}'.encode())
    assert list(members) == ["a"]
    assert len(faults) == 21
    assert (faults[-1].code, faults[-1].pointer) == ("too_many", "")


@pytest.mark.parametrize(
    "body", [b'{"a":"\\ud800","b":NaN}', b'{"a":"\\ud800","b":1,}', b'["\\ud800"]']
)
def test_what_is_no_json_object_is_not_split(body: bytes) -> None:
    with pytest.raises(ApiError):
        read_members(body)


def test_a_body_of_nothing_but_faults_is_answered_briefly() -> None:
    errors = refusal(members_of, b'{"a":[' + b",".join([b'"\\u0000"'] * 10_000) + b"]}")
    assert len(errors) == 21
    name = b"n" * 100_000
    (error,) = refusal(members_of, b'{"' + name + b'":1,"' + name + b'":2}')
    assert len(error.field) == 100
    assert error.pointer is None


def test_a_hundred_levels_are_taken_and_one_more_is_refused() -> None:
    assert set(members_of(nested(DEEPEST))) == {"a"}
    for depth in (DEEPEST + 1, 1_000, 100_000):
        (error,) = refusal(members_of, nested(depth))
        assert error.code == "too_deep"


def test_brackets_in_strings_and_beside_one_another_are_not_depth() -> None:
    body = b'{"a":"' + b"[{" * 1000 + b'","b":[' + b",".join([b"[{}]"] * 1000) + b"]}"
    assert set(members_of(body)) == {"a", "b"}


def test_unclosed_deep_nesting_and_quotes_cost_no_more_than_their_length() -> None:
    unclosed = (b'{"a":' + b"[" * 250_000, b'{"a":"' + b'\\"' * 125_000, b'[{"' * 80_000)
    long_name = b'{"' + b"n" * 125_000 + b'":[' + b"1," * 60_000 + b'"\\u0000"]}'
    for body in (*unclosed, long_name):
        assert refusal(members_of, body)


def test_rows_come_bare_or_under_their_name() -> None:
    bare = rows_of(b' [ {"a":1} , 2 ] ')
    assert (bare.rows, bare.pointer, bare.others) == ([b'{"a":1}', b"2"], "", [])
    named = rows_of(b'{"x":[1],"customers": [{"a": 1}],"y":"\\u00e9"}')
    assert (named.rows, named.pointer, named.others) == ([b'{"a": 1}'], "/customers", ["x", "y"])


def test_a_bad_row_is_left_for_its_own_judgement() -> None:
    rows = rows_of(b'[{"a":1},{"a":1,"a":2},{"b":"\\u0000"},{"c":"\\ud800"},3]').rows
    assert set(members_of(rows[0])) == {"a"}
    _, (error,) = read_members(rows[1], pointer="/customers/1")
    assert error.pointer == "/customers/1/a"
    codes = [refusal(members_of, row)[0].code for row in rows[1:]]
    assert codes == ["duplicate_key", "control_character", "lone_surrogate", "not_an_object"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b"{}", "required"),
        (b'{"rows":[]}', "required"),
        (b'{"customers":3}', "wrong_type"),
        (b'{"customers":{}}', "wrong_type"),
        (b'{"customers":[]}', "row_count"),
        (b" [ ] ", "row_count"),
        (b"[" + b",".join([b"{}"] * 501) + b"]", "row_count"),
        (b'{"customers":[1],"customers":[1]}', "duplicate_key"),
        (b'{"customers":[1],"x":1,"x":2}', "duplicate_key"),
        (b'{"x":{"y":1,"y":1},"customers":[1]}', "duplicate_key"),
        (b'{"x":"\\u0000","customers":[1]}', "control_character"),
        (b'{"customers":[1,]}', "invalid_json"),
        (b'{"customers":[1}', "invalid_json"),
        (b'{"customers":[1]', "invalid_json"),
        (b'{"customers":', "invalid_json"),
        (b'{"customers" [1]}', "invalid_json"),
        (b'{"customers":[1] "x":2}', "invalid_json"),
        (b"[1,]", "invalid_json"),
        (b"[1 2]", "invalid_json"),
        (b"[1", "invalid_json"),
        (b"[1]]", "invalid_json"),
        (b"[NaN]", "invalid_json"),
        (b"[" * 100_000, "too_deep"),
        (b'{"a":' * 100_000, "too_deep"),
        (b"3", "not_an_object"),
        (b'"customers"', "not_an_object"),
        (b"\xff", "invalid_utf8"),
    ],
)
def test_a_bulk_body_without_usable_rows_is_refused(body: bytes, code: str) -> None:
    (error,) = refusal(rows_of, body)
    assert error.code == code


# Every character that means something to JSON, and some that must not get through.
TEXT = st.text(st.sampled_from('ab"\\/{}[]:,0 \t\n\r\x00\x1f\x7f\x85é😀~\u2028'), max_size=6)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def written(tree: object, ascii_only: bool, indent: int | None) -> bytes:
    return json.dumps(tree, ensure_ascii=ascii_only, indent=indent).encode()


DOCUMENTS = st.builds(
    written,
    st.dictionaries(TEXT, TREES, max_size=5) | TREES,
    st.booleans(),
    st.none() | st.just(1),
)
PIECES = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b'"a":',
        b"\\ud800",
        b"\\u0000",
        b"\xff",
        b"1",
        b"NaN",
    ]
)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A document with a few pieces put in and a few bytes taken out."""
    body = draw(DOCUMENTS)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(PIECES) + body[at + draw(st.integers(0, 2)) :]
    return body


def taken(parse: Callable[[bytes], Result], body: bytes) -> Result | None:
    """What the parser makes of a body; None when it refuses it, as it should."""
    try:
        return parse(body)
    except ApiError as error:
        told = json.loads(error.body("request"))
    assert told["status_code"] == 400
    assert told["errors"]
    return None


def is_clean(text: str) -> bool:
    return all(
        character in "\t\n" or not (character < " " or "\x7f" <= character <= "\x9f")
        for character in text
    ) and not any("\ud800" <= character <= "\udfff" for character in text)


def refuse_constant(name: str) -> object:
    raise ValueError(name)


def clean_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """As `json` would make it, were it strict."""
    if len({name for name, _ in pairs}) < len(pairs) or not all(is_clean(n) for n, _ in pairs):
        raise ValueError
    return dict(pairs)


def is_clean_tree(tree: object) -> bool:
    match tree:
        case str():
            return is_clean(tree)
        case list():
            return all(map(is_clean_tree, tree))
        case dict():
            return all(map(is_clean_tree, tree.values()))
        case _:
            return True


def expected(body: bytes) -> object:
    """What another strict reader makes of a body; None when that refuses it."""
    try:
        tree: object = json.loads(
            body.decode(), object_pairs_hook=clean_object, parse_constant=refuse_constant
        )
    except ValueError:
        return None
    return tree if is_clean_tree(tree) else None


@settings(max_examples=500)
@given(broken())
def test_an_object_is_taken_exactly_when_another_strict_reader_takes_it(body: bytes) -> None:
    wanted = expected(body)
    members = taken(members_of, body)
    split = taken(read_members, body)
    if split is not None:
        assert bool(split[1]) == (members is None)
        for name, raw in split[0].items():
            assert taken(members_of, b"{%b:%b}" % (json.dumps(name).encode(), bytes(raw)))
    if isinstance(wanted, dict):
        assert members is not None
        assert {name: json.loads(bytes(raw)) for name, raw in members.items()} == wanted
    else:
        assert members is None


@settings(max_examples=500)
@given(st.sampled_from([b"%b", b'{"customers":%b}', b'{"a":1,"customers":%b}']), broken())
def test_rows_are_split_as_another_reader_splits_them(shape: bytes, inner: bytes) -> None:
    body = shape % inner
    wanted = expected(body)
    split = taken(rows_of, body)
    array = wanted.get("customers") if isinstance(wanted, dict) else wanted
    if isinstance(array, list) and array:
        assert split is not None
        assert [json.loads(row) for row in split.rows] == array


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_no_bytes_whatever_do_anything_but_parse_or_be_refused(body: bytes) -> None:
    taken(members_of, body)
    taken(rows_of, body)
