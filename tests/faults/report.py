"""What came of a run: figures per fault, and everything that did not hold."""

from collections.abc import Sequence

from msgspec import Struct, field

from tests.faults.run import Outcome


class FaultFigures(Struct, kw_only=True):
    """What became of the service while one fault was there, alone or with others."""

    times: int = 0
    longest_no_write: float = 0.0
    """Seconds without an acknowledged write, from when it was injected to when all was back."""
    longest_no_read: float = 0.0
    """Seconds without a read that showed everything written before it."""
    longest_recovery: float = 0.0
    """Seconds from when it was healed to when a write and a fresh read were answered."""
    longest_fault: float = 0.0
    """How long it lasted at most."""


class Report(Struct, kw_only=True):
    """A run, as it is kept and shown."""

    command: str
    began: str
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    failed: list[str] = field(default_factory=list[str])
    """Rounds that could not be run to their end, and why."""
    not_run: dict[str, str] = field(default_factory=dict[str, str])
    """Faults that this machine cannot inject, with what it lacks for them; they do not count."""

    @property
    def violations(self) -> int:
        """How often something promised did not hold."""
        return sum(len(outcome.violations) for outcome in self.outcomes)

    @property
    def is_good(self) -> bool:
        """Whether all of it ran, and nothing was violated."""
        return not self.violations and not self.failed

    @property
    def came_together(self) -> bool:
        """Whether some faults were there at once, so that their figures are of all of them."""
        return any(one.with_others for outcome in self.outcomes for one in outcome.episodes)

    def figures(self) -> dict[str, FaultFigures]:
        """The figures of each fault by name."""
        found: dict[str, FaultFigures] = {}
        for outcome in self.outcomes:
            for one in outcome.episodes:
                told = found.setdefault(one.fault, FaultFigures())
                told.times += 1
                told.longest_no_write = max(told.longest_no_write, one.no_write_seconds)
                told.longest_no_read = max(told.longest_no_read, one.no_read_seconds)
                told.longest_recovery = max(told.longest_recovery, one.recovered - one.healed)
                told.longest_fault = max(told.longest_fault, one.healed - one.began)
        return dict(sorted(found.items()))


def sum_of(outcomes: Sequence[Outcome], name: str) -> int:
    """A figure of all rounds together."""
    return sum(getattr(outcome, name) for outcome in outcomes)
