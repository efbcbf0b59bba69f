"""Which email addresses are taken, and that what is taken without asking is right."""

import hypothesis.strategies as st
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings

from command_side.emails import email_fault, is_plain_email

LETTERS = "aZ09-"
ATOMS = st.text(LETTERS + "!#$%&'*+/=?^_`{|}~", min_size=1, max_size=70) | st.sampled_from(
    ["a", "A1", "o'neil", "x" * 64, "x" * 65, "{y}", "-", "_", "xn--", "info"]
)
GOOD_LABELS = st.sampled_from(["a", "B2", "x-y", "a" * 63, "b-" * 31 + "b", "123", "com", "test"])
BAD_LABELS = st.sampled_from(["a" * 64, "-a", "a-", "x--y", "xn--a", "axn--b", "ab--c", "C0M", ""])
LABELS = GOOD_LABELS | st.text(LETTERS, min_size=1, max_size=66) | BAD_LABELS
NEAR = st.builds(
    "{}@{}".format,
    st.lists(ATOMS, min_size=1, max_size=3).map(".".join),
    st.lists(LABELS, min_size=1, max_size=5).map(".".join),
)
"""Addresses on both sides of every limit."""


def is_valid(email: str) -> bool:
    """What email-validator says, which must not want to have it otherwise but for case."""
    try:
        normalized = validate_email(email, check_deliverability=False).normalized
    except EmailNotValidError:
        return False
    return normalized.lower() == email.lower()


@settings(max_examples=200)
@given(NEAR)
def test_an_address_that_is_taken_unasked_is_valid(email: str) -> None:
    assert is_valid(email) or not is_plain_email(email)


@given(NEAR)
def test_asked_or_not_an_address_is_taken_when_it_is_valid(email: str) -> None:
    assert (email_fault(email) is None) == is_valid(email)


@pytest.mark.parametrize(
    "email",
    [
        "jane@example.com",
        "Jane.Doe+tag@Example.COM",
        "o'neil@my-shop.co.uk",
        "a@shop.test",
        "a_b-c@x1.y2.info",
        "1@2.de",
        "a@b.c",
        "x" * 65 + "@example.com",
        "a@" + "d" * 63 + ".com",
        "a" * 242 + "@example.com",
    ],
)
def test_an_ordinary_address_is_taken_unasked(email: str) -> None:
    assert is_plain_email(email)
    assert is_valid(email)


@pytest.mark.parametrize(
    "email",
    [
        "jöhn@example.com",
        "jane@exämple.com",
        "jane@xn--exmple-cua.com",
        "jane@ab--c.com",
        "jane@example.c0m",
        "jane@example.com\n",
        '"jane"@example.com',
        "jane@example.c\N{KELVIN SIGN}",
        "a" * 243 + "@example.com",
    ],
)
def test_about_any_other_address_email_validator_is_asked(email: str) -> None:
    assert not is_plain_email(email)
