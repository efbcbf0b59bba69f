"""Events are gathered while many come, and only then."""

from events.pace import Pace

_LONGEST = 0.02


def after(rate: float, *, each: int, seconds: float = 3.0) -> Pace:
    """A pace behind so many events a second, in rounds of so many."""
    pace = Pace(_LONGEST)
    rounds = int(rate * seconds / each)
    for number in range(rounds):
        pace.note(each, 100 + number * each / rate)
    return pace


def test_while_few_events_come_none_waits() -> None:
    assert after(500, each=1).seconds() == 0
    assert after(500, each=10).seconds() == 0


def test_a_stall_is_no_reason_to_wait() -> None:
    pace = after(500, each=1)
    pace.note(50, 103.1)
    assert pace.seconds() == 0


def test_while_many_events_come_they_are_gathered_but_not_for_long() -> None:
    assert after(3000, each=10).seconds() == _LONGEST
    assert 0.005 < after(10_000, each=100).seconds() < _LONGEST


def test_when_it_grows_quiet_nobody_waits_any_more() -> None:
    pace = after(3000, each=10)
    pace.note(1, 104.0)
    assert pace.seconds() == 0
