"""What a benchmark found, and whether it reached what it was to reach."""

from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

Sense: TypeAlias = Literal["more", "less"]
Who: TypeAlias = Literal["ours", "peer", "bare"]
SERVICES: Final[tuple[Who, ...]] = ("ours", "peer")
TIMES: Final = "\N{MULTIPLICATION SIGN}"
API_MEGABYTES: Final = 150
AT_FLOOR: Final = 2.0
"""A list is at its floor when it takes at most so many times as long as one that finds nobody."""


class Target(Struct, frozen=True, kw_only=True):
    """What is to be reached: all that is set of it."""

    at_most: float | None = None
    at_least: float | None = None
    ratio: float | None = None
    """So many times as good as what it is measured beside."""
    floor: float | None = None
    """Good enough instead of the ratio: what cannot be undercut, in the row's unit."""


class Row(Struct, frozen=True, kw_only=True):
    """One figure of ours, what it is measured beside, and what it was to reach."""

    stage: str
    what: str
    unit: str
    better: Sense = "more"
    ours: float | None = None
    beside: float | None = None
    beside_what: str = ""
    target: Target | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as good ours is."""
        if not self.ours or not self.beside:
            return None
        return self.ours / self.beside if self.better == "more" else self.beside / self.ours

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without one, or without a figure to judge."""
        target, ours = self.target, self.ours
        if target is None or ours is None or (target.ratio is not None and self.ratio is None):
            return None
        return (
            (target.at_most is None or ours <= target.at_most)
            and (target.at_least is None or ours >= target.at_least)
            and (target.ratio is None or self._ratio_is_enough(target, ours))
        )

    def _ratio_is_enough(self, target: Target, ours: float) -> bool:
        if target.floor is not None and ours <= target.floor:
            return True
        return target.ratio is not None and (self.ratio or 0.0) >= target.ratio


class Distribution(Struct, frozen=True, kw_only=True):
    """How long the answers took: milliseconds at load.PERCENTILES."""

    stage: str
    what: str
    who: Who
    answers: int
    seconds: float
    milliseconds: list[float]


class Memory(Struct, frozen=True, kw_only=True):
    """What one process held, in MB of resident memory, at seconds from the beginning of a load."""

    process: str
    seconds: list[float]
    megabytes: list[float]


class Report(Struct, kw_only=True):
    """All of a run."""

    command: str
    began: str
    seconds: float = 0.0
    machine: dict[str, Any]
    sizes: dict[str, Any]
    rows: list[Row] = []
    distributions: list[Distribution] = []
    memory: list[Memory] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    stage_seconds: dict[str, float] = {}


def target_words(target: Target | None, unit: str) -> str:
    """A target as the table has it."""
    if target is None:
        return ""
    parts: list[str] = []
    if target.at_most is not None:
        parts.append(f"≤ {quantity(target.at_most, unit)}")
    if target.at_least is not None:
        parts.append(f"≥ {quantity(target.at_least, unit)}")
    if target.ratio is not None:
        floor = "" if target.floor is None else "*"
        parts.append(f"{number_words(target.ratio)}{TIMES}{floor}")
    return ", ".join(parts)


def quantity(value: float, unit: str) -> str:
    """A number with its unit."""
    return f"{number_words(value)}{'' if unit[0] in '/%' else ' '}{unit}"


def number_words(value: float | None) -> str:
    """A number with about three digits that mean something."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def rise(memory: Memory) -> float:
    """By how much the line through the second half of the samples rises, as a part of its middle.

    The first half is left out: caches and pools fill, and allocators keep what they were given.
    """
    half = len(memory.seconds) // 2
    times, sizes = memory.seconds[half:], memory.megabytes[half:]
    middle_time, middle = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((time - middle_time) ** 2 for time in times)
    if not spread or not middle:
        return 0.0
    shared = sum(
        (time - middle_time) * (size - middle) for time, size in zip(times, sizes, strict=True)
    )
    return shared / spread * (times[-1] - times[0]) / middle
