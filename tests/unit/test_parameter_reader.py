"""Parameters of an address: read strictly, all errors at once."""

from datetime import UTC, datetime

import pytest

from runtime.field_error import FieldError
from runtime.web.problems import ApiError
from runtime.web.query_string import ParameterReader, read_parameters


def a_reader(query: str) -> ParameterReader:
    return ParameterReader(read_parameters(query.encode()))


def refusal(reader: ParameterReader, *, strict: bool = False) -> tuple[FieldError, ...]:
    with pytest.raises(ApiError) as refused:
        reader.finish(strict=strict)
    assert refused.value.status == 400
    return refused.value.errors


def test_what_nobody_asked_for_is_named_and_ignored() -> None:
    reader = a_reader("page=1&pgae=2&pgae=3&x=")
    assert reader.number("page", 1, 9) == 1
    assert reader.flag("dry_run") is False
    assert reader.finish() == [
        "pgae is no parameter of this call and was ignored.",
        "x is no parameter of this call and was ignored.",
    ]


def test_under_strict_what_nobody_asked_for_is_refused_beside_everything_else() -> None:
    reader = a_reader("page=x&pgae=2&tags=a&y=1")
    reader.number("page", 1, 9)
    reader.many("tags")
    told = [(error.field, error.code) for error in refusal(reader, strict=True)]
    assert told == [
        ("page", "not_a_number"),
        ("pgae", "unknown_parameter"),
        ("y", "unknown_parameter"),
    ]


def test_of_a_thousand_ignored_names_twenty_are_told_and_none_in_full_length() -> None:
    query = "&".join(f"{'n' * 100}{number}=1" for number in range(1000))
    warnings = a_reader(query).finish()
    assert len(warnings) == 21
    assert warnings[0] == f"{'n' * 60}… is no parameter of this call and was ignored."
    assert warnings[-1] == "980 more parameters were ignored."


def test_a_refusal_of_a_thousand_names_has_a_short_message() -> None:
    reader = a_reader("&".join(f"n{number}=1" for number in range(1000)))
    with pytest.raises(ApiError) as refused:
        reader.finish(strict=True)
    assert len(refused.value.errors) == 21
    assert refused.value.message == "More than 5 things are wrong; `errors` lists them."


@pytest.mark.parametrize("text", ["%00", "a%0Ab", "%1F", "%7F", "%C2%85", "%09"])
@pytest.mark.parametrize("shape", ["search={}", "tags=a,{}", "x=a&x={}", "{}=1"])
def test_control_characters_are_refused_once_wherever_they_stand(shape: str, text: str) -> None:
    reader = a_reader(shape.format(text))
    reader.one("search")
    reader.many("tags")
    (error,) = refusal(reader)
    assert error.code == "control_character"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00.5z", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31 12:00:00%2B02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T12:00:00-02:30", datetime(2026, 1, 31, 14, 30, tzinfo=UTC)),
        ("2026-01-31T12:00:00-00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.1234569Z", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read_as_rfc_3339_says(text: str, moment: datetime) -> None:
    reader = a_reader(f"after={text}")
    assert reader.moment("after") == moment
    assert reader.finish() == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_moment"),
        ("yesterday", "invalid_moment"),
        ("2026-01-31", "invalid_moment"),
        ("2026-01-31T12:00:00", "invalid_moment"),
        ("2026-01-31T12:00Z", "invalid_moment"),
        ("20260131T120000Z", "invalid_moment"),
        ("2026-01-31T12:00:00,5Z", "invalid_moment"),
        ("2026-01-31T12:00:00.Z", "invalid_moment"),
        ("2026-01-31T12:00:00+0200", "invalid_moment"),
        ("12026-01-31T12:00:00Z", "invalid_moment"),
        ("%D9%A2026-01-31T12:00:00Z", "invalid_moment"),
        ("2026-02-30T12:00:00Z", "out_of_range"),
        ("2026-01-31T24:00:00Z", "out_of_range"),
        ("2026-01-31T12:00:61Z", "out_of_range"),
        ("2026-01-31T12:00:00+24:00", "out_of_range"),
        ("2026-01-31T12:00:00+05:60", "invalid_moment"),
        ("0000-01-01T00:00:00Z", "out_of_range"),
        ("0001-01-01T00:00:00+00:01", "out_of_range"),
        ("9999-12-31T23:59:59-00:01", "out_of_range"),
        ("9999-12-31T23:59:60Z", "out_of_range"),
    ],
)
def test_what_is_no_moment_is_refused(text: str, code: str) -> None:
    reader = a_reader(f"after={text}")
    assert reader.moment("after") is None
    (error,) = refusal(reader)
    assert (error.field, error.code) == ("after", code)


def test_a_parameter_given_twice_is_refused_where_one_is_meant() -> None:
    reader = a_reader("after=2026-01-31T12:00:00Z&after=2026-01-31T12:00:00Z")
    reader.moment("after")
    (error,) = refusal(reader)
    assert error.code == "repeated"


def test_where_a_number_or_a_moment_is_meant_either_is_read_and_all_else_refused() -> None:
    def read(text: str) -> tuple[object, list[str]]:
        reader = a_reader(f"as_of={text}")
        return reader.number_or_moment("as_of", 9, "version"), [one.code for one in reader.errors]

    assert read("7") == (7, [])
    assert read("2026-03-03T10:00:00+01:00") == (datetime(2026, 3, 3, 9, tzinfo=UTC), [])
    assert a_reader("").number_or_moment("as_of", 9, "version") is None
    for number in ("0", "-1", "10"):
        assert read(number) == (None, ["out_of_range"])
    reader = a_reader("as_of=seven")
    reader.number_or_moment("as_of", 9, "version")
    assert refusal(reader)[0].error == (
        "as_of must be a version, from 1 on, or a moment in RFC 3339, such as 2026-01-31T12:00:00Z."
    )


def test_a_parameter_that_others_exclude_is_known_but_refused_however_often_it_is_given() -> None:
    reader = a_reader("page=1&page=2")
    reader.exclude("page", "page is not possible here.")
    reader.exclude("search", "search is not possible here.")
    assert [(one.field, one.code) for one in refusal(reader, strict=True)] == [("page", "excluded")]
