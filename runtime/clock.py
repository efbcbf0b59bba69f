"""Times as text: RFC 3339; what is written is UTC, always with a Z and six digits of the second."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

# A plus that was not percent-encoded in a URL arrives as a space.
MOMENT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    r"(?:[Zz]|([+ -])([0-9]{2}:[0-5][0-9]))"
)
"""The shape of a moment, for `moment_of`."""


def format_time(moment: datetime) -> str:
    """`2026-03-03T09:30:00.000000Z`; the moment must know its time zone."""
    # msgspec writes the same in a tenth of the time, but no fraction where that is zero.
    text: str = msgspec.to_builtins(moment.astimezone(UTC))
    return text if moment.microsecond else f"{text[:19]}.000000Z"


def moment_of(match: re.Match[str]) -> datetime:
    """The moment that a text names, in UTC; digits beyond the microsecond are dropped.

    Raises ValueError, OverflowError when no calendar has it.
    """
    date, minute, second, fraction, sign, offset = match.groups()
    # A leap second is read as the first moment of the next minute: no clock of ours has one.
    leap = second == "60"
    text = f"{date}T{minute}:{'59' if leap else second}{(fraction or '')[:7]}"
    text += f"{'-' if sign == '-' else '+'}{offset}" if offset else "+00:00"
    return datetime.fromisoformat(text).astimezone(UTC) + timedelta(seconds=leap)
