"""Times as text."""

from datetime import datetime, timedelta, timezone
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from runtime.clock import MOMENT, format_time, moment_of

_FIRST: Final = datetime.fromisoformat("0001-01-02")
_LAST: Final = datetime.fromisoformat("9999-12-30")
_ZONES: Final = st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(_FIRST, _LAST, timezones=_ZONES), st.booleans())
def test_a_time_is_written_in_utc_with_six_digits_and_read_back_the_same(
    moment: datetime, is_whole: bool
) -> None:
    moment = moment.replace(microsecond=0) if is_whole else moment
    text = format_time(moment)
    assert (len(text), text[-1]) == (27, "Z")
    match = MOMENT.fullmatch(text)
    assert match is not None
    assert moment_of(match) == moment
