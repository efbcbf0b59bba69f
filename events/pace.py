"""How long to let events come together before the next round of a relay or a projector.

A round has a price however small it is; only while many events come is it worth waiting for more.
"""

import math
from typing import Final

_MEMORY_SECONDS: Final = 0.5
"""What is longer ago hardly counts in the rate of events."""
_BUSY: Final = 1000.0
"""Events a second below which each goes at once."""
_TOGETHER: Final = 100
"""So many in a round, its price does not count any more."""


class Pace:
    """Looks at how many events came lately, not at the last round: a stall is no reason to wait."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._rate = 0.0
        self._at = 0.0

    def note(self, events: int, now: float) -> None:
        """A round had so many events."""
        faded = math.exp((self._at - now) / _MEMORY_SECONDS)
        self._rate = self._rate * faded + events / _MEMORY_SECONDS
        self._at = now

    def seconds(self) -> float:
        """For so long the next round is gathered, by the rate as of the last one."""
        if self._rate < _BUSY:
            return 0.0
        return min(self._seconds_max, _TOGETHER / self._rate)
