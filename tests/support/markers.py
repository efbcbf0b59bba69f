"""Values that stand nowhere else: where one of them is found, what it was planted in has got to."""

import base64
import re
from collections.abc import Iterable
from typing import Any, Final

# A word of each, so that a find says what was found.
_WORD: Final = re.compile(rb"zq([a-z]+)7", re.IGNORECASE)
_PHONE: Final = "+15557315908"

PERSON: Final[dict[str, Any]] = {
    "email": "zqmail7@zqdomain7.example",
    "phone": _PHONE,
    "firstName": "Zqfirst7",
    "lastName": "Zqlast7",
    "companyName": "Zqcompany7 Ltd",
    "external_id": "zqexternal7",
    "tags": ["zqtag7"],
    "custom_fields": {"zqname7": "zqvalue7", "address": {"street": "Zqstreet7 1"}},
}
"""A customer with a marker in each field."""

ABOUT: Final = {
    "X-Actor": "zqactor7",
    "X-Reason": "zqreason7",
    "Idempotency-Key": "zqidempotency7",
}
"""Headers of a write with a marker in each."""


def secret_of_32_bytes(word: str) -> str:
    """The base64 of 32 bytes, beginning with the marker of this word."""
    text = f"zq{word}7".ljust(42, "A") + "A="
    assert len(base64.b64decode(text)) == 32
    return text


def found_in(text: bytes, others: Iterable[str] = ()) -> set[str]:
    """The words of the markers in a text, as it is or in hexadecimal; and which of `others`."""
    found = {match[1].decode().lower() for match in _WORD.finditer(text)}
    found |= {
        word.group(1).decode().lower()
        for written in re.findall(rb"(?:[0-9a-f]{2}){6,}", text)
        for word in _WORD.finditer(bytes.fromhex(written.decode()))
    }
    if _PHONE.lstrip("+").encode() in text:
        found.add("phone")
    return found | {other for other in others if other.encode() in text}
