"""Times as text: RFC 3339 in UTC, always with a Z and six digits of the second."""

from datetime import UTC, datetime


def format_time(moment: datetime) -> str:
    """`2026-03-03T09:30:00.000000Z`; the moment must know its time zone."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
