"""A value is found in every form in which it may be kept, wherever the pieces of a stream part."""

import base64
import gzip
import json
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.failure import Failure
from runtime.leftovers.needles import Finder, make_needles, masked
from runtime.text import search_text, sort_key

VALUE = "René.Müller@Example.com"
PHONE = "+1 (555) 000-1234"


def found(content: bytes, *values: str) -> set[int]:
    """Which of the values a stream of one piece holds."""
    finder = Finder(make_needles(values))
    finder.feed(content)
    return set(finder.found)


@pytest.mark.parametrize(
    "kept",
    [
        VALUE.encode(),
        VALUE.upper().encode(),
        VALUE.lower().encode(),
        json.dumps(VALUE).encode(),
        json.dumps(VALUE).replace("\\u00e9", "\\u00E9").encode(),
        json.dumps({"email": VALUE}, ensure_ascii=False).encode(),
        VALUE.encode("utf-16-le"),
        VALUE.encode("utf-16-be"),
        VALUE.encode().hex().encode(),
        VALUE.encode().hex().upper().encode(),
        quote(VALUE).encode(),
        quote(VALUE, safe="").encode(),
        (sort_key(VALUE) or "").encode(),
        search_text(
            phone=None,
            first_name=None,
            last_name=None,
            company_name=None,
            email=VALUE,
            external_id=None,
        ).encode(),
    ],
)
def test_every_form_of_a_value_is_found(kept: bytes) -> None:
    assert found(b"before" + kept + b"behind", VALUE, "somebody else") == {1}


def test_a_whole_name_is_found_where_its_parts_are_members_of_their_own() -> None:
    kept = '{"phone":null,"first_name":"José María","last_name":"Doe","tags":[]}'.encode()
    for content in (kept, kept.hex().encode(), base64.b64encode(kept)):
        assert found(content, "José María Doe", "José Doe") == {1}
    for name in ("josé maría doe", "JOSÉ  MARÍA DOE "):
        assert found(kept, name) == {1}


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc", b'{"email":"'])
def test_base64_is_found_wherever_the_value_stands_in_it(before: bytes) -> None:
    content = before + VALUE.encode() + b"behind"
    assert found(base64.b64encode(content), VALUE) == {1}
    assert found(base64.urlsafe_b64encode(content), VALUE) == {1}


def test_the_digits_of_a_phone_are_found_however_they_were_written() -> None:
    kept = search_text(
        phone="+15550001234",
        first_name=None,
        last_name=None,
        company_name=None,
        email=None,
        external_id=None,
    )
    assert found(kept.encode(), PHONE) == {1}
    assert found(b"15550001235", PHONE) == set()


def test_what_was_compressed_is_not_found_and_so_must_be_said() -> None:
    assert found(gzip.compress(VALUE.encode() * 3), VALUE) == set()


@given(
    cuts=st.lists(st.integers(0, 200), max_size=8),
    times=st.integers(1, 3),
    noise=st.binary(max_size=40),
)
def test_a_match_is_counted_once_wherever_the_pieces_part(
    cuts: list[int], times: int, noise: bytes
) -> None:
    content = (b"\0" + noise + b"\0marker@example.com") * times
    finder = Finder(make_needles(["marker@example.com"]))
    places = sorted({0, *(cut for cut in cuts if cut < len(content)), len(content)})
    for start, end in pairwise(places):
        finder.feed(content[start:end])
    assert finder.found == {1: {"text": times}}


def test_two_streams_are_never_read_as_one() -> None:
    finder = Finder(make_needles(["marker@example.com"]))
    finder.feed(b"marker@exa")
    finder.end()
    finder.feed(b"mple.com")
    assert finder.found == {}


@pytest.mark.parametrize("value", ["", " ", "Jane", "é\u0301"])
def test_a_value_that_stands_anywhere_by_chance_is_refused(value: str) -> None:
    with pytest.raises(Failure, match="too short"):
        make_needles(["long enough", value])


@given(st.text(min_size=6))
def test_what_is_shown_of_a_value_does_not_tell_it(value: str) -> None:
    shown = masked(value)
    assert value not in shown
    assert len(shown.split(" (", maxsplit=1)[0]) <= 5
