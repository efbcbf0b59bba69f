"""A customer read in one go is the customer that is read member by member."""

import json
import tracemalloc

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from command_side.bulk_body import parse_rows, split_quickly
from command_side.fields import Reading, read_changes
from command_side.quick_fields import read_quickly
from runtime.field_error import FieldError
from runtime.web.problems import ApiError
from runtime.web.strict_json import read_members

# Texts on both sides of every limit, as they stand in JSON.
STRINGS = st.sampled_from(
    [
        '""',
        '" "',
        '"a"',
        '"Zo\\u00eb"',
        '"Zoë"',
        '"a:b"',
        '"a,b"',
        '" a "',
        '"A"',
        '"a\\nb"',
        '"\\t"',
    ]
    + [
        '"\\u0000"',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\\\"',
        '"\\/"',
        '"\x7f"',
        '"\x85"',
        '"\xa0a"',
    ]
    + ['"+12"', '"+1"', '"+123456789012345"', '"a@b.test"', '"a@b"', '"o\'n@x.de"', '"jö@b.test"']
    + [f'"{"x" * size}"' for size in (100, 101, 255, 256, 300, 301, 500, 501)]
    + [f'"{"x" * size}@example.com"' for size in (242, 243)]
)
SCALARS = st.sampled_from(["null", "true", "false", "0", "1.50", "-1e5", "NaN", "01", ""])
NAMES = st.sampled_from(
    ["email", "phone", "first_name", "firstName", "lastName", "companyName", "external_id", "tags"]
) | st.sampled_from(
    ["custom_fields", "communication_preferences", "sms", "e\\u006dail", "if_version", "x", "a:b"]
)
GAPS = st.sampled_from(["", "", "", " ", "\n\t", "\r\n"])


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    """An object, some of whose names may be there twice."""
    members = [
        f'{draw(GAPS)}"{draw(NAMES)}"{draw(GAPS)}:{draw(GAPS)}{draw(values)}{draw(GAPS)}'
        for _ in range(draw(st.integers(0, 5)))
    ]
    return "{" + ",".join(members) + "}"


LISTS = st.lists(STRINGS | SCALARS, max_size=4).map(lambda items: "[" + ", ".join(items) + "]")
VALUES = STRINGS | SCALARS | LISTS
TREES = objects(VALUES | objects(VALUES | objects(VALUES)) | st.just("[" * 99 + "]" * 99))


GOOD = [
    '"email":"jane@shop.test"',
    '"email" : ""',
    '"phone":"+15550001234"',
    '"firstName":"Zoë"',
    '"last_name":null',
    '"company_name":"Acme \\u00fcber"',
    '"external_id":"c-1"',
    '"tags":["vip", "gold"]',
    '"custom_fields":{"at":"10:30", "n":[1, {"x":"\\/"}]}',
    '"communication_preferences":{"sms":true,"voice":null}',
]
MEMBERS = st.builds('"{}":{}'.format, NAMES, VALUES | objects(VALUES))
LIKELY = st.builds(
    "{{{}}}".format,
    st.tuples(
        st.lists(st.sampled_from(GOOD), unique_by=lambda member: member[:6], max_size=6),
        st.lists(MEMBERS, max_size=1),
    ).map(lambda parts: ",".join([*parts[0], *parts[1]])),
)
BODIES = st.builds(str.encode, TREES | LIKELY, st.just("utf-8"))


def read_closely(body: bytes) -> tuple[Reading | None, list[FieldError]]:
    """What the members say one by one, and the faults; no reading when there are no members."""
    try:
        members, faults = read_members(body)
    except ApiError as refused:
        return None, list(refused.errors)
    return read_changes(members), faults


@settings(max_examples=200)
@given(BODIES)
def test_what_is_read_in_one_go_is_the_same_member_by_member(body: bytes) -> None:
    changes = read_quickly(body)
    if changes is not None:
        alike = Reading(changes=changes, errors=(), unknown=())
        assert read_closely(body) == (alike, [])


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"email":"jane@example.com","firstName":"Jane","tags":["vip","gold"]}',
        b'{\n "phone": "+15550001234",\n "custom_fields": {"at": "10:30", "url": "https://x"}\n}',
        '{"last_name":"Bj\\u00f6rn","companyName":"Zoë","email":"","tags":[]}'.encode(),
        json.dumps({"communication_preferences": {"sms": True}, "external_id": "c-1"}).encode(),
    ],
)
def test_an_ordinary_customer_is_read_in_one_go(body: bytes) -> None:
    assert read_quickly(body) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"email":"a@b.test","email":"a@c.test"}',
        b'{"custom_fields":{"a" :1,"a":2}}',
        b'{"custom_fields":{"a":{"b":1,"b":2}}}',
        b'{"firstName":"A","first_name":"A"}',
        b'{"first_name":"a\\nb"}',
        b'{"custom_fields":{"a":"\\u0000"}}',
        b'{"custom_fields":{"a":"\\ud800"}}',
        '{"custom_fields":{"a":"\x85"}}'.encode(),
        b'{"custom_fields":{"a":' + b"[" * 100 + b"]" * 100 + b"}}",
        b'{"custom_fields":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"if_version":1}',
        b'{"vatId":"x"}',
        b'{"tags":["vip","VIP"]}',
    ],
)
def test_what_is_wrong_or_unusual_takes_a_closer_look(body: bytes) -> None:
    assert read_quickly(body) is None


@given(
    st.lists(TREES | VALUES, max_size=4), GAPS, st.sampled_from(["", "]", ',{"a":1}', "x", ",1"])
)
def test_rows_split_in_one_go_are_the_rows_split_one_by_one(
    rows: list[str], gap: str, more: str
) -> None:
    bare = f"{gap}[{gap}{f'{gap},{gap}'.join(rows)}{gap}]{more}{gap}"
    for body in (bare, f'{gap}{{{gap}"customers"{gap}:{bare}}}{gap}'):
        quick = split_quickly(body.encode(), "customers", 4)
        if quick is not None:
            # With another member beside them the rows are split one by one.
            beside = f'{{"x":0,"customers":{bare}}}'
            closely = parse_rows(beside.encode(), member="customers", most=4)
            assert (quick.rows, quick.others) == (closely.rows, [])
            assert quick.pointer == ("" if body == bare else "/customers")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [(b' [{"a":1},{}] ', ""), (b'{ "customers" : [{"a":1},{}]\n}\n', "/customers")],
)
def test_rows_with_nothing_beside_them_are_split_in_one_go(body: bytes, pointer: str) -> None:
    quick = split_quickly(body, "customers", 500)
    assert quick is not None
    assert (quick.rows, quick.pointer) == ([b'{"a":1}', b"{}"], pointer)


def test_of_far_too_many_rows_no_more_is_kept_than_was_sent() -> None:
    body = b"[" + b"0," * 200_000 + b"0]"
    tracemalloc.start()
    try:
        with pytest.raises(ApiError):
            parse_rows(body, member="customers", most=500)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * len(body)
