"""Sealed texts: only their own service, purpose and workspace can read them."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.envelope import Position, WorkspaceId
from events.token import Tokens
from runtime.sealing import Sealer
from runtime.settings import MasterKeys

OLD = MasterKeys(current="a", by_id={"a": b"a" * 32})
ROTATED = MasterKeys(current="b", by_id={"b": b"b" * 32, "a": b"a" * 32})
FOREIGN = MasterKeys(current="a", by_id={"a": b"c" * 32})
ALPHABET = string.ascii_letters + string.digits + "-_"
ACME = WorkspaceId("acme")


@given(st.binary(max_size=500))
def test_what_is_sealed_can_be_opened_and_stands_safely_in_a_url(content: bytes) -> None:
    text = Sealer(OLD).seal("cursor", "acme", content)

    assert Sealer(OLD).open("cursor", "acme", text) == content
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)


def test_it_opens_after_the_master_key_was_rotated() -> None:
    assert Sealer(ROTATED).open("cursor", "acme", Sealer(OLD).seal("cursor", "acme", b"x")) == b"x"


def test_for_another_purpose_workspace_or_service_it_stays_shut() -> None:
    text = Sealer(OLD).seal("cursor", "acme", b"x")

    assert Sealer(OLD).open("token", "acme", text) is None
    assert Sealer(OLD).open("cursor", "globex", text) is None
    assert Sealer(FOREIGN).open("cursor", "acme", text) is None


@pytest.mark.parametrize("text", ["", "x", "====", "ü", "AAAA", "A" * 16, "A" * 100, "a b", "\0"])
def test_a_text_that_nobody_sealed_opens_to_nothing(text: str) -> None:
    assert Sealer(OLD).open("cursor", "acme", text) is None


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 63))
def test_a_changed_character_makes_it_worthless(place: float, step: int) -> None:
    # What is drawn must not depend on the sealed text, which is another each time.
    text = Sealer(OLD).seal("cursor", "acme", b"where the page ended")
    at = int(place * (len(text) - 1))
    other = ALPHABET[(ALPHABET.index(text[at]) + step) % 64]

    assert Sealer(OLD).open("cursor", "acme", text[:at] + other + text[at + 1 :]) is None


def test_a_token_tells_its_place_to_its_own_log_and_workspace_only() -> None:
    text = Tokens(Sealer(OLD), 1).issue(
        ACME, generation=2, position=Position(7), chain=bytes(range(32))
    )

    token = Tokens(Sealer(OLD), 1).read(ACME, text)
    assert token is not None
    assert (token.position, token.chain) == (7, bytes(range(8)))
    assert Tokens(Sealer(OLD), 2).read(ACME, text) is None
    assert Tokens(Sealer(OLD), 1).read(WorkspaceId("acme_test"), text) is None


def test_two_tokens_of_one_place_do_not_show_that_they_are_of_one_place() -> None:
    tokens = Tokens(Sealer(OLD), 1)
    first, second = (
        tokens.issue(ACME, generation=1, position=Position(1), chain=b"c" * 32) for _ in range(2)
    )

    assert first != second


def test_the_length_of_a_token_tells_nothing_of_its_place() -> None:
    tokens = Tokens(Sealer(OLD), 1)
    lengths = {
        len(tokens.issue(ACME, generation=1, position=Position(position), chain=bytes(32)))
        for position in (1, 128, 2**16, 2**32, 2**63 - 1)
    }
    assert len(lengths) == 1
