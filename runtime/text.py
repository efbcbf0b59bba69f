"""Folded text: what search, tags and sorting compare instead of what was typed.

The search text of a customer is one string that a single LIKE can ask anything of:

    "\\n 15550001234\\t\\n jane\\n doe\\n jane doe\\n acme corp\\n jane@example.com\\n cust-001\\n"

Every field stands on a line of its own behind a space, so `% jan%` finds the start of a word,
`%\\n jan%` the start of a field, `%\\n jane\\n%` a whole field. The first line holds the digits of
the phone, or none, and alone ends in a tab: `%0001%\\t%` looks at the phone and nowhere else.
"""

import re
import unicodedata
from hashlib import sha256
from typing import Final

from msgspec import Struct

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""A control character, tab and line ends among them: no field of one line holds any."""

# Letters that have no decomposition, but that people without such a key type as these.
_STROKED: Final = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ħ": "h",
        "ŧ": "t",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
        "æ": "ae",
        "œ": "oe",
    }
)
# Possessive: a long number with a letter behind it costs no more than another.
_PHONE_WORD: Final = re.compile(r"[+()./-]*+[0-9][0-9+()./-]*+")
_NO_DIGIT: Final = re.compile(r"[^0-9]")
_LIKE_SPECIAL: Final = re.compile(r"[\\%_]")

# No trigram is that short, so only the start of a word can be found by index.
_SHORT_WORD: Final = 2
# An index entry holds some 2,700 bytes at most, and folding makes some texts many times longer.
_TAG_KEY_BYTES: Final = 400
_SORT_KEY_BYTES: Final = 2000


class SearchPatterns(Struct, frozen=True, kw_only=True):
    """A search as LIKE patterns over the search text; the lists have one entry for each word."""

    anywhere: list[str]
    """What every word must match; short words match word starts only."""
    phone: list[str | None]
    """What a word may match instead: digits written with the punctuation of a phone number."""
    start: list[str]
    phone_start: list[str | None]
    """The same at the start of a word."""
    exact: list[str]
    """One of these: a field is the whole query."""
    prefix: list[str]
    """One of these: a field begins with the whole query."""


def fold(text: str) -> str:
    """Without case, accents, control characters and superfluous white space.

    Folding twice changes nothing.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = "".join([character for character in folded if _is_kept(character)])
    # Composed again: what NFKD takes apart beside accents, Hangul above all, is one letter.
    composed = unicodedata.normalize("NFC", kept.translate(_STROKED))
    return " ".join(composed.split())


def fold_case(text: str) -> str:
    """Without case, but with accents: what makes two tags, or two addresses, the same."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def tag_key(workspace_id: str, tag: str) -> str:
    """The key of a tag, `acme/vip`: short enough for an index, and without control characters."""
    folded = CONTROL.sub("\N{REPLACEMENT CHARACTER}", fold_case(tag))
    encoded = folded.encode()
    if len(encoded) > _TAG_KEY_BYTES:
        folded = f"#{sha256(encoded).hexdigest()}"
    return f"{workspace_id}/{folded}"


def sort_key(text: str | None) -> str | None:
    """What a name is sorted by: folded, and cut to what an index entry holds; None for a blank."""
    folded = fold(text or "")
    if not folded:
        return None
    if len(folded) <= _SORT_KEY_BYTES // 4:
        return folded
    return folded.encode()[:_SORT_KEY_BYTES].decode(errors="ignore")


def search_text(
    *,
    phone: str | None,
    first_name: str | None,
    last_name: str | None,
    company_name: str | None,
    email: str | None,
    external_id: str | None,
) -> str:
    """The search text of a customer."""
    first, last = fold(first_name or ""), fold(last_name or "")
    lines = [
        _NO_DIGIT.sub("", phone or "") + "\t",
        first,
        last,
        f"{first} {last}" if first and last else "",
        fold(company_name or ""),
        fold(email or ""),
        fold(external_id or ""),
    ]
    return "\n " + "\n ".join(filter(None, lines)) + "\n"


def search_patterns(query: str) -> SearchPatterns | None:
    """The patterns of what somebody typed; None when that is blank."""
    folded = fold(query)
    if not folded:
        return None
    words = list(dict.fromkeys(folded.split(" ")))
    digits = [_phone_digits(word) for word in words]
    phrase = _escape(folded)
    exact, prefix = [f"%\n {phrase}\n%"], [f"%\n {phrase}%"]
    if all(digits):
        number = _NO_DIGIT.sub("", folded)
        exact.append(f"\n {number}\t%")
        prefix.append(f"\n {number}%\t%")
    return SearchPatterns(
        anywhere=[_anywhere(word) for word in words],
        phone=[_in_phone(word, digit) for word, digit in zip(words, digits, strict=True)],
        start=[f"% {_escape(word)}%" for word in words],
        phone_start=[
            f"\n {digit}%\t%" if digit and digit != word else None
            for word, digit in zip(words, digits, strict=True)
        ],
        exact=exact,
        prefix=prefix,
    )


def _is_kept(character: str) -> bool:
    # Accents, and the selectors that only choose how an emoji is drawn.
    if unicodedata.combining(character) or "\ufe00" <= character <= "\ufe0f":
        return False
    # Tabs and line ends are control characters too, but they part words.
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cf")


def _escape(text: str) -> str:
    return _LIKE_SPECIAL.sub(r"\\\g<0>", text)


def _anywhere(word: str) -> str:
    return f"% {_escape(word)}%" if len(word) <= _SHORT_WORD else f"%{_escape(word)}%"


def _phone_digits(word: str) -> str | None:
    return _NO_DIGIT.sub("", word) if _PHONE_WORD.fullmatch(word) else None


def _in_phone(word: str, digits: str | None) -> str | None:
    if digits is None or digits == word:
        return None
    return f"\n {digits}%\t%" if len(digits) <= _SHORT_WORD else f"%{digits}%\t%"
