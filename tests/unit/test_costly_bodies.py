"""What would keep everybody else waiting while it is read is refused before it is read."""

import pytest

from command_side.bulk_body import Rows, parse_rows
from runtime.web.json_body import BULK_LIMIT
from runtime.web.problems import ApiError
from runtime.web.strict_json import MARKS_MAX


def refusal(body: bytes) -> str:
    """The code of what is wrong with a bulk body as a whole."""
    with pytest.raises(ApiError) as raised:
        parse_rows(body, member="customers", most=500)
    (error,) = raised.value.errors
    return error.code


def filled(before: bytes, unit: bytes, after: bytes = b"") -> bytes:
    """A body of the greatest length."""
    return before + unit * ((BULK_LIMIT - len(before) - len(after)) // len(unit)) + after


def a_row(inside: bytes) -> Rows:
    """The rows of a body with one, that has this in an array."""
    return parse_rows(b'[{"external_id":"x","a":[%b]}]' % inside, member="customers", most=500)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (filled(b"", b"["), "too_deep"),
        (filled(b"", b'{"a":'), "too_deep"),
        (filled(b'{"customers":', b"["), "too_deep"),
        (filled(b'[{"external_id":"x","a":[', b"[],", b"1]}]"), "too_many"),
        (filled(b'[{"external_id":"x","a":[', b'{"a":1},', b"1]}]"), "too_many"),
        (filled(b'[{"external_id":"x"', b',"a":1', b"}]"), "too_many"),
        (filled(b"[", b"[" * 90 + b"]" * 90 + b",", b"1]"), "too_many"),
    ],
)
def test_a_long_body_of_little_but_structure_is_refused_as_a_whole(body: bytes, code: str) -> None:
    assert refusal(body) == code


def test_as_much_structure_as_may_be_is_taken_and_one_more_is_not() -> None:
    # The array, the row, its two members and the array in it count too.
    inside = b",".join([b"[]"] * (MARKS_MAX - 5))
    assert len(a_row(inside).rows) == 1
    with pytest.raises(ApiError):
        a_row(inside + b",[]")


def test_what_stands_in_strings_is_no_structure() -> None:
    assert len(a_row(b'"' + b'[{:\\"' * MARKS_MAX + b'"').rows) == 1
