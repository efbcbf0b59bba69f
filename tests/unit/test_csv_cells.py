"""CSV for spreadsheets and for programs."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.csv_cells import csv_line

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def read_back(line: bytes) -> list[str]:
    """The texts of a line, as the module says that they are read."""
    [cells] = csv.reader(io.StringIO(line.decode(), newline=""))
    return [cell.removeprefix("'") for cell in cells]


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1-2", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\uff1d1", '=cmd|"/c calc"!A1', "'"],
)
def test_what_a_spreadsheet_might_calculate_begins_with_an_apostrophe(text: str) -> None:
    line = csv_line([text])

    assert line.lstrip(b'"').startswith(b"'")
    assert read_back(line) == [text]


@pytest.mark.parametrize("text", ["+15550001234", "Jane", "a=b", "O'Neill", "[]", '{"a": 1}'])
def test_a_telephone_number_and_every_other_text_stands_as_it_is(text: str) -> None:
    [cells] = csv.reader([csv_line([text]).decode()])

    assert cells == [text]


def test_absent_values_are_empty_and_numbers_are_digits() -> None:
    assert csv_line([1, None, "", "a,b", 'say "x"', "two\nlines"]) == (
        b'1,,,"a,b","say ""x""","two\nlines"\r\n'
    )


@given(st.lists(TEXTS, min_size=1))
def test_every_text_is_read_back_to_the_letter(texts: list[str]) -> None:
    assert read_back(csv_line(texts)) == texts
