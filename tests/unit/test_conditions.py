"""If-Match and If-None-Match as RFC 9110 reads them."""

from typing import Any, cast

import pytest

from runtime.conditions import Conditions
from runtime.web.conditions import IF_MATCH, IF_NONE_MATCH, etag, read_conditions


def conditions(**headers: str) -> Conditions:
    """What these headers ask for; they are well-formed."""
    read, errors = _read(headers)
    assert errors == ()
    return read


def _read(headers: dict[str, str]) -> tuple[Conditions, tuple[object, ...]]:
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return read_conditions(cast(Any, {"headers": raw}), IF_MATCH, IF_NONE_MATCH)


def test_without_conditions_every_write_goes_on_and_no_reader_is_known() -> None:
    assert conditions().allow_write(3)
    assert conditions().allow_write(None)
    assert not conditions().is_known(3)


@pytest.mark.parametrize(
    ("given", "version", "allowed"),
    [
        ('"3"', 3, True),
        ('"2", "3"', 3, True),
        ('"2"', 3, False),
        ('W/"3"', 3, False),
        ('"03"', 3, False),
        ('"abc"', 3, False),
        ("*", 3, True),
        ("*", None, False),
        ('"3"', None, False),
    ],
)
def test_if_match_lets_only_that_version_be_written(
    given: str, version: int | None, allowed: bool
) -> None:
    assert conditions(if_match=given).allow_write(version) is allowed


@pytest.mark.parametrize(
    ("given", "version", "allowed"),
    [
        ("*", None, True),
        ("*", 3, False),
        ('"3"', 3, False),
        ('W/"3"', 3, False),
        ('"2"', 3, True),
        ('"2"', None, True),
    ],
)
def test_if_none_match_lets_that_version_not_be_written(
    given: str, version: int | None, allowed: bool
) -> None:
    assert conditions(if_none_match=given).allow_write(version) is allowed


@pytest.mark.parametrize("given", ['"3"', 'W/"3"', '"1" ,\t"3"', "*"])
def test_a_reader_who_has_the_version_is_known(given: str) -> None:
    assert conditions(if_none_match=given).is_known(3)


@pytest.mark.parametrize("given", ['"2",,"3"', ', "3"', '"3",', ' , ,"2"\t, ,"3" , ,', ',W/"3",'])
def test_empty_elements_of_a_list_are_ignored(given: str) -> None:
    assert conditions(if_none_match=given).is_known(3)
    assert not conditions(if_none_match=given).is_known(4)


@pytest.mark.parametrize("given", ["3", "", ",", '"3', '"3" "4"', "*, *", "'3'", '"a"b"', '"3",,*'])
def test_what_is_no_list_of_etags_is_an_error_of_its_header(given: str) -> None:
    for name in ("if_match", "if_none_match"):
        _, errors = _read({name: given})
        assert len(errors) == 1


@pytest.mark.parametrize("piece", [",", '"', '"",', ", ", 'W/"', '"" '])
def test_a_header_of_nothing_but_traps_costs_no_more_than_its_length(piece: str) -> None:
    _, errors = _read({"if_match": f'{piece * 100_000}"1"x'})
    assert len(errors) == 1


def test_the_etag_is_the_version_in_quotes() -> None:
    assert etag(3) == '"3"'
