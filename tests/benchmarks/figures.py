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
        verdicts = [verdict for _, verdict in self.judged]
        return all(verdicts) if verdicts and None not in verdicts else None

    @property
    def judged(self) -> list[tuple[str, bool | None]]:
        """Each part of the target in words, and whether it is reached."""
        target, ours = self.target or Target(), self.ours
        judged: list[tuple[str, bool | None]] = []
        if target.at_most is not None:
            words = f"≤ {quantity(target.at_most, self.unit)}"
            judged.append((words, None if ours is None else ours <= target.at_most))
        if target.at_least is not None:
            words = f"≥ {quantity(target.at_least, self.unit)}"
            judged.append((words, None if ours is None else ours >= target.at_least))
        if target.ratio is not None:
            words = f"{number_words(target.ratio)}{TIMES}{'' if target.floor is None else '*'}"
            judged.append((words, self._is_ratio_enough(target)))
        return judged

    def _is_ratio_enough(self, target: Target) -> bool | None:
        if self.ratio is None or self.ours is None or target.ratio is None:
            return None
        is_at_floor = target.floor is not None and self.ours <= target.floor
        return is_at_floor or self.ratio >= target.ratio


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
