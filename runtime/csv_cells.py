"""CSV that a program reads back exactly, and that no spreadsheet takes for a formula.

RFC 4180: UTF-8, lines end in CRLF. A text that a spreadsheet might calculate gets an apostrophe in
front, and so does one that begins with an apostrophe: who reads a cell back takes one off, and has
the text to the letter. A telephone number is left alone: it calculates to itself.
"""

import csv
import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

Format: TypeAlias = Literal["ndjson", "csv"]
"""What is given out in bulk: a JSON object on each line, or a table."""

# ASCII, and the wide forms that a Japanese spreadsheet takes for the same.
_CALCULATES: Final = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
# What stands in front may be dropped before a spreadsheet looks; ours is told by an apostrophe.
_MARKED: Final = _CALCULATES | frozenset("'\t\r\n")
_PHONE: Final = re.compile(r"\+[0-9]+")


class _Line:
    """What csv writes to: gives the line back."""

    def write(self, line: str) -> str:
        """The line."""
        return line


_writer: Final = csv.writer(_Line())


def csv_line(cells: Iterable[str | int | None]) -> bytes:
    """One line of cells; what is absent is an empty cell."""
    line: str = _writer.writerow([_safe(cell) if isinstance(cell, str) else cell for cell in cells])  # pyright: ignore[reportAssignmentType] - typed as Any, is what write returns
    return line.encode()


def _safe(text: str) -> str:
    if text[:1] in _MARKED or text.lstrip()[:1] in _CALCULATES:
        return text if _PHONE.fullmatch(text) else f"'{text}"
    return text
