"""A value in all the forms in which it may be kept, and where a stream of bytes holds one of them.

What is searched is compared without the case of ASCII letters; other letters are looked for in both
cases. A match that lies across two pieces of the stream is found, and counted once.
"""

import base64
import re
import unicodedata
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from runtime.failure import Failure
from runtime.text import fold, fold_case

# Shorter ones stand in every file by chance.
_VALUE_BYTES_MIN: Final = 6
_PHONE_DIGITS_MIN: Final = 7
_FORM_BYTES_MIN: Final = 6
_BASE64_BYTES_MIN: Final = 8
_EMPTY_BYTES_MIN: Final = 4096
_NAME_WORDS_MAX: Final = 5
_PHONE: Final = re.compile(r"[0-9+()./ -]+")
_RUN: Final = re.compile(rb"[0-9a-z.@+-]{6,}")
_ANCHOR_BYTES: Final = 8
_NO_DIGIT: Final = re.compile(r"[^0-9]")


class Needle(Struct, frozen=True, kw_only=True):
    """A value to look for; only `shown` of it may be printed."""

    number: int
    shown: str
    forms: dict[bytes, str]
    """By what is looked for, in lower case: what form of the value it is."""


def make_needles(values: Iterable[str]) -> list[Needle]:
    """The values, each once; raises Failure for one that is too short to tell anything."""
    return [_needle(number, value) for number, value in enumerate(dict.fromkeys(values), 1)]


def masked(value: str) -> str:
    """Enough to know which value is meant, too little to know the value."""
    first, length = value[0], len(value)
    _, at, domain = value.rpartition("@")
    tail = f"@{domain[0]}…" if at and domain else "…"
    return f"{first}{tail} ({length} characters)"


def _needle(number: int, value: str) -> Needle:
    if len(value.encode()) < _VALUE_BYTES_MIN or not fold(value):
        raise Failure(
            f"Value {number} is too short: what has less than {_VALUE_BYTES_MIN} bytes stands in "
            "any file by chance.",
            "the whole email, phone number, name with surname, or external_id",
        )
    return Needle(number=number, shown=masked(value), forms=_forms(value))


def _forms(value: str) -> dict[bytes, str]:
    forms: dict[bytes, str] = {}

    def add(form: bytes, name: str, least: int = _FORM_BYTES_MIN) -> None:
        if len(form) >= least:
            forms.setdefault(form.lower(), name)

    for text in _split_names(value):
        encoded = text.encode()
        add(encoded, "first and last name")
        add(encoded.hex().encode(), "hexadecimal")
        for core in _base64_cores(encoded):
            add(core, "base64", _BASE64_BYTES_MIN)
    for text in _spellings(value):
        encoded = text.encode()
        add(encoded, "text")
        add(msgspec.json.encode(text)[1:-1], "JSON")
        add(_json_escaped(text).encode(), "JSON")
        add(encoded.hex().encode(), "hexadecimal")
        for order in ("utf-16-le", "utf-16-be"):
            add(text.encode(order).strip(b"\0"), "UTF-16")
        add(quote(text, safe="").encode(), "part of a URL")
        for core in _base64_cores(encoded):
            add(core, "base64", _BASE64_BYTES_MIN)
    digits = _NO_DIGIT.sub("", value)
    if _PHONE.fullmatch(value) and len(digits) >= _PHONE_DIGITS_MIN:
        add(digits.encode(), "digits")
        add(digits.encode().hex().encode(), "hexadecimal")
    return forms


def _spellings(value: str) -> list[str]:
    """The value as it was typed, as people vary it, and as search texts and keys keep it."""
    bases = [value, value.lower(), value.upper(), fold(value), fold_case(value)]
    composed = [unicodedata.normalize(form, text) for text in bases for form in ("NFC", "NFD")]
    return list(dict.fromkeys([*bases, *composed]))


def _split_names(value: str) -> list[str]:
    """A whole name as events and documents hold it: in two members, one behind the other."""
    texts: list[str] = []
    for words in map(str.split, _spellings(value)):
        for place in range(1, min(len(words), _NAME_WORDS_MAX)):
            first, last = " ".join(words[:place]), " ".join(words[place:])
            texts.append(f'{first}","last_name":"{last}')
    return texts


def _json_escaped(text: str) -> str:
    r"""As JSON in ASCII has it, `\u00e9`; the case of the digits is not compared."""
    units = text.encode("utf-16-be")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(
        chr(low) if high == 0 and low < 128 else f"\\u{high:02x}{low:02x}" for high, low in pairs
    )


def _base64_cores(encoded: bytes) -> list[bytes]:
    """What of the value is the same wherever it stands in what was encoded: three ways."""
    cores: list[bytes] = []
    for before in range(3):
        text = base64.b64encode(b"\0" * before + encoded)
        # The first characters hold bits of what stands before, the last of what comes behind.
        start = -(-before * 8 // 6)
        end = (before + len(encoded)) * 8 // 6
        core = text[start:end]
        cores += [core, core.translate(bytes.maketrans(b"+/", b"-_"))]
    return cores


class Finder:
    """Counts how often a stream of bytes holds each needle; its memory is bounded."""

    def __init__(self, needles: list[Needle]) -> None:
        # Most forms of a value have a piece in common: as long as that is nowhere, none of them is.
        self._forms: dict[bytes, list[tuple[bytes, int, str]]] = {}
        for needle in needles:
            for form, name in needle.forms.items():
                self._forms.setdefault(_anchor(form), []).append((form, needle.number, name))
        self._longest = max(len(form) for needle in needles for form in needle.forms)
        self._rest = b""
        self.found: dict[int, dict[str, int]] = {}
        """By number of the needle and form: how often."""

    def feed(self, piece: bytes) -> None:
        """The next bytes of the stream."""
        if len(piece) > _EMPTY_BYTES_MIN and piece.count(0) == len(piece):
            # Much of the files of a database is; no form of a value begins, ends or goes on so.
            self._rest = b""
            return
        rest = len(self._rest)
        data = self._rest + piece.lower()
        for anchor, forms in self._forms.items():
            for form, number, name in forms if anchor in data else ():
                # A match wholly in the rest was counted with the piece before.
                count = _count(data, form, max(0, rest - len(form) + 1))
                if count:
                    counts = self.found.setdefault(number, {})
                    counts[name] = counts.get(name, 0) + count
        self._rest = data[-(self._longest - 1) :] if self._longest > 1 else b""

    def end(self) -> None:
        """The stream is at its end; what comes now is another."""
        self._rest = b""


def _anchor(form: bytes) -> bytes:
    run = _RUN.search(form)
    return (run[0] if run else form)[:_ANCHOR_BYTES]


def _count(data: bytes, form: bytes, start: int) -> int:
    count = 0
    while (start := data.find(form, start)) >= 0:
        count += 1
        start += 1
    return count
