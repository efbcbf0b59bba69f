"""Prefer: what counts as a wish to be read strictly."""

from typing import Any, cast

import pytest

from runtime.web.preferences import heed_handling, preference_applied


def a_scope(*prefer: bytes) -> Any:
    headers = [(b"prefer", value) for value in prefer]
    return cast(Any, {"headers": headers, "state": {}})


@pytest.mark.parametrize(
    "prefer",
    [
        (b"handling=strict",),
        (b"Handling = STRICT",),
        (b'handling="strict"',),
        (b"handling=strict;x=1; y",),
        (b"respond-async, handling=strict, wait=10",),
        (b"return=minimal", b"handling=strict"),
        (b'foo="a, handling=lenient; \\", b" , handling=strict',),
        (b"handling=strict, handling=lenient",),
        (b"(what?), handling=strict",),
        (b'foo=", handling=lenient', b'bar", handling=strict'),
    ],
)
def test_a_strict_reading_is_asked_for_in_every_way_the_standard_knows(
    prefer: tuple[bytes, ...],
) -> None:
    scope = a_scope(*prefer)
    assert heed_handling(scope)
    assert preference_applied(scope) == "handling=strict"


@pytest.mark.parametrize(
    "prefer",
    [
        (),
        (b"",),
        (b"handling",),
        (b"handling=lenient",),
        (b"handling=lenient, handling=strict",),
        (b"handling=stricter",),
        (b"handling:strict",),
        (b"xhandling=strict",),
        (b"foo;handling=strict",),
        (b'foo="handling=strict, handling=strict"',),
        (b'foo="handling=strict, handling=strict',),
    ],
)
def test_anything_else_asks_for_nothing(prefer: tuple[bytes, ...]) -> None:
    scope = a_scope(*prefer)
    assert not heed_handling(scope)
    assert preference_applied(scope) is None


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", [b'"', b'\\"', b'a="', b",", b" ", b"a=", b';"'])
def test_a_header_of_nothing_but_traps_costs_no_more_than_its_length(piece: bytes) -> None:
    assert not heed_handling(a_scope(piece * 20_000))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("unit", [b" ", b"\t ", b"a", b"a=", b"a ", b'"', b"; ", b"= "])
@pytest.mark.parametrize("begin", [b"a=", b"a", b"", b'a="', b"a ;"])
def test_a_long_preference_costs_no_more_than_its_length(begin: bytes, unit: bytes) -> None:
    assert not heed_handling(a_scope(begin + unit * (40_000 // len(unit)) + b"("))
