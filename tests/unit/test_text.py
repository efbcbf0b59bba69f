"""Folding, and the patterns of a search against the search text."""

import re
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runtime.text import fold, fold_case, search_patterns, search_text, sort_key, tag_key

# What people are called, with what makes folding hard.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


def like(text: str, pattern: str) -> bool:
    """LIKE as Postgres has it, with backslash as the escape."""
    regex = ""
    characters = iter(pattern)
    for character in characters:
        match character:
            case "\\":
                regex += re.escape(next(characters))
            case "%":
                regex += ".*"
            case "_":
                regex += "."
            case _:
                regex += re.escape(character)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def finds(query: str, text: str) -> bool:
    """Whether every word of a query matches."""
    patterns = search_patterns(query)
    assert patterns is not None
    return all(
        like(text, anywhere) or (phone is not None and like(text, phone))
        for anywhere, phone in zip(patterns.anywhere, patterns.phone, strict=True)
    )


def rank(query: str, text: str) -> str:
    """How well a query matches, as the read model ranks it."""
    patterns = search_patterns(query)
    assert patterns is not None
    if any(like(text, pattern) for pattern in patterns.exact):
        return "exact"
    if any(like(text, pattern) for pattern in patterns.prefix):
        return "prefix"
    starts = zip(patterns.start, patterns.phone_start, strict=True)
    if all(like(text, start) or (phone and like(text, phone)) for start, phone in starts):
        return "word start"
    return "elsewhere"


def a_text(
    phone: str | None = None,
    first_name: str | None = None,
    last_name: str | None = None,
    company_name: str | None = None,
    email: str | None = None,
    external_id: str | None = None,
) -> str:
    return search_text(
        phone=phone,
        first_name=first_name,
        last_name=last_name,
        company_name=company_name,
        email=email,
        external_id=external_id,
    )


JANE = a_text("+15550001234", "Jane", "Doe", "Acme Corp", "jane@example.com", "cust-001")


def test_the_search_text_has_a_line_for_every_field() -> None:
    assert JANE == (
        "\n 15550001234\t\n jane\n doe\n jane doe\n acme corp\n jane@example.com\n cust-001\n"
    )


def test_without_a_phone_its_line_is_empty() -> None:
    assert a_text(email="a@b.c") == "\n \t\n a@b.c\n"


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  Jane\t DOE ", "jane doe"),
        ("AMÉLIE", "amelie"),
        ("Ame\N{COMBINING ACUTE ACCENT}lie", "amelie"),
        ("Straße", "strasse"),
        ("Łukasz Sørensen", "lukasz sorensen"),
        ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
        ("ﬁnance", "finance"),
        ("a\N{NO-BREAK SPACE}b\N{LINE SEPARATOR}c", "a b c"),
        ("zero\N{ZERO WIDTH SPACE}width\x00\x07", "zerowidth"),
        ("日本", "日本"),
    ],
)
def test_folding_drops_case_accents_and_superfluous_space(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(TEXTS)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(TEXTS)
def test_folding_leaves_no_control_character_but_single_spaces(text: str) -> None:
    folded = fold(text)
    assert not any(unicodedata.category(character) == "Cc" for character in folded)
    assert folded == " ".join(folded.split())


@given(TEXTS)
def test_folding_does_not_see_case(text: str) -> None:
    assert fold(text.upper().casefold()) == fold(text.casefold().upper())


@given(TEXTS, TEXTS, TEXTS)
def test_whoever_types_a_whole_field_finds_it_exactly(first: str, last: str, company: str) -> None:
    text = a_text(first_name=first, last_name=last, company_name=company)
    for field in (first, last, company):
        if fold(field):
            assert finds(field, text)
            assert rank(field, text) == "exact"


@given(TEXTS, st.data())
def test_any_part_of_three_characters_is_found(name: str, data: st.DataObject) -> None:
    folded = fold(name)
    start = data.draw(st.integers(0, max(0, len(folded) - 3)))
    part = folded[start : start + data.draw(st.integers(3, 10))]
    assume(all(len(word) > 2 for word in part.split()))
    assume(part.split())
    assert finds(part, a_text(last_name=name))


@pytest.mark.parametrize(
    "query", ["", " ", "\t\n", "\N{NO-BREAK SPACE}", "\x00", "\N{ZERO WIDTH SPACE}"]
)
def test_a_blank_search_is_none(query: str) -> None:
    assert search_patterns(query) is None


@pytest.mark.parametrize(
    "query",
    ["jane", "JANE DOE", "doe jane", "ane", "cme co", "example.com", "ust-0", "0001234", "ja", "d"],
)
def test_every_word_must_match_somewhere(query: str) -> None:
    assert finds(query, JANE)


@pytest.mark.parametrize("query", ["janet", "jane smith", "doejane", "ne", "e", "jane  doee"])
def test_a_word_that_matches_nowhere_finds_nothing(query: str) -> None:
    assert not finds(query, JANE)


@pytest.mark.parametrize(
    "query",
    [
        "+15550001234",
        " 15550001234",
        "+1 (555) 000-1234",
        "555-000",
        "(555)",
        "+1",
        "(15",
        "000.12",
    ],
)
def test_a_phone_is_found_however_it_is_written(query: str) -> None:
    assert finds(query, JANE)


@pytest.mark.parametrize("query", ["+2", "(55", "555-001", "+15550001235"])
def test_another_phone_is_not_found(query: str) -> None:
    assert not finds(query, JANE)


def test_phone_punctuation_does_not_find_digits_elsewhere() -> None:
    assert not finds("20-24", a_text(external_id="x2024"))
    assert finds("2024", a_text(external_id="x2024"))


@pytest.mark.parametrize("query", ["%", "_", "100%", "a_c", "a%c", "\\", "%%%", "a\\"])
def test_wildcards_are_literal(query: str) -> None:
    assert not finds(query, a_text(company_name="abc 100"))
    assert finds(query, a_text(company_name=query))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("jane", "exact"),
        ("Jane Doe", "exact"),
        ("+15550001234", "exact"),
        ("1 555 000 1234", "exact"),
        ("jan", "prefix"),
        ("jane d", "prefix"),
        ("acme", "prefix"),
        ("+1555", "prefix"),
        ("corp", "word start"),
        ("doe jan", "word start"),
        ("doe +1555", "word start"),
        ("ane", "elsewhere"),
        ("jane orp", "elsewhere"),
        ("0001234", "elsewhere"),
    ],
)
def test_matches_are_ranked_from_exact_to_elsewhere(query: str, expected: str) -> None:
    assert rank(query, JANE) == expected


def test_tags_and_addresses_keep_their_accents() -> None:
    assert fold_case("ÉTÉ") == fold_case("E\N{COMBINING ACUTE ACCENT}té") == "été"
    assert fold_case("ETE") != fold_case("ÉTÉ")


def test_a_tag_key_names_its_workspace() -> None:
    assert tag_key("acme", "VIP") == "acme/vip"


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=600))
def test_keys_fit_an_index_and_hold_no_line_end(text: str) -> None:
    assert len(tag_key("acme", text).encode()) <= 410
    assert "\n" not in tag_key("acme", text)
    assert len((sort_key(text) or "").encode()) <= 2000


@pytest.mark.parametrize("absent", [None, "", " ", "\N{ZERO WIDTH SPACE}"])
def test_an_absent_name_has_no_sort_key_and_a_blank_one_neither(absent: str | None) -> None:
    assert sort_key(absent) is None


@pytest.mark.timeout(10)
@pytest.mark.parametrize("query", ["1" * 50_000 + "x", "+" * 50_000 + "x", "(1" * 25_000 + "é"])
def test_a_long_word_costs_no_more_than_its_length(query: str) -> None:
    patterns = search_patterns(query)
    assert patterns is not None
    assert patterns.phone == [None]
