"""GCRA: never more than the burst and the rate allow, never less, and little memory."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.ids import new_id
from runtime.web.rate_limit import RateLimit

SECOND = 10**9
MINUTE = 60 * SECOND
KEY = new_id()


class Clock:
    """Stands still until a test moves it; in nanoseconds."""

    def __init__(self) -> None:
        self.now = 5 * MINUTE

    def __call__(self) -> int:
        return self.now


def a_limit(per_minute: int) -> tuple[RateLimit, Clock]:
    clock = Clock()
    return RateLimit(per_minute, clock=clock), clock


def exhaust(limit: RateLimit, key: UUID = KEY) -> int:
    """Ask until refused; how often that went well."""
    taken = 0
    while limit.take(key) is None:
        taken += 1
    return taken


LIMITS = st.sampled_from([1, 2, 3, 7, 59, 60, 61, 6000])
GAPS = st.lists(
    st.one_of(st.just(0), st.integers(0, 3 * SECOND), st.integers(0, 2 * MINUTE)), max_size=60
)


@settings(max_examples=200)
@given(LIMITS, GAPS, st.integers(1, 5))
def test_a_request_is_taken_exactly_when_burst_and_rate_allow_it(
    per_minute: int, gaps: list[int], at_once: int
) -> None:
    limit, clock = a_limit(per_minute)
    taken: list[int] = []
    for gap in gaps:
        clock.now += gap
        for _ in range(at_once):
            # In every window that ends now: no more than the burst, and the rate times its length.
            fits = all(
                (len(taken) - first + 1) * MINUTE
                <= per_minute * (MINUTE + clock.now - taken[first])
                for first in range(len(taken))
            )
            assert (limit.take(KEY) is None) == fits
            if fits:
                taken.append(clock.now)


@settings(max_examples=200)
@given(LIMITS, GAPS)
def test_as_many_requests_as_are_told_to_be_left_are_taken(
    per_minute: int, gaps: list[int]
) -> None:
    limit, clock = a_limit(per_minute)
    for gap in gaps:
        clock.now += gap
        limit.take(KEY)
    left = limit.left(KEY)
    assert exhaust(limit) == left.requests


@settings(max_examples=200)
@given(LIMITS, GAPS)
def test_everything_is_there_again_when_it_is_told_and_not_a_second_earlier(
    per_minute: int, gaps: list[int]
) -> None:
    limit, clock = a_limit(per_minute)
    for gap in gaps:
        clock.now += gap
        limit.take(KEY)
    seconds = limit.left(KEY).seconds
    if seconds:
        clock.now += (seconds - 1) * SECOND
        assert limit.left(KEY).seconds == 1
        clock.now += SECOND
    assert limit.left(KEY).seconds == 0
    assert limit.left(KEY).requests == per_minute


@settings(max_examples=100)
@given(LIMITS, st.integers(0, 3 * SECOND))
def test_after_the_seconds_to_wait_a_request_is_taken_and_not_a_second_earlier(
    per_minute: int, later: int
) -> None:
    limit, clock = a_limit(per_minute)
    exhaust(limit)
    clock.now += later
    exhaust(limit)
    seconds = limit.take(KEY)
    assert seconds is not None
    assert seconds >= 1
    clock.now += (seconds - 1) * SECOND
    if seconds > 1:
        assert limit.take(KEY) == 1
    clock.now += SECOND
    assert limit.take(KEY) is None


def test_a_key_begins_with_everything_and_shares_it_with_no_other() -> None:
    limit, _ = a_limit(10)
    assert limit.left(KEY).requests == 10
    assert exhaust(limit) == 10
    assert limit.left(KEY).requests == 0
    assert limit.left(KEY).seconds == 60
    assert exhaust(limit, new_id()) == 10


def test_keys_that_have_everything_again_are_forgotten() -> None:
    limit, clock = a_limit(100)
    for _ in range(10):
        for _ in range(1000):
            limit.take(new_id())
        clock.now += MINUTE
        assert len(limit._full_at) <= 1000
    for _ in range(1000):
        limit.take(KEY)
    assert list(limit._full_at) == [KEY]


@pytest.mark.parametrize("per_minute", [1, 6000])
def test_the_policy_names_the_limit(per_minute: int) -> None:
    assert RateLimit(per_minute).policy == f'"default";q={per_minute};w=60'
