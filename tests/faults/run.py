"""One round: a system of its own, load, faults, and in the end every check."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from tests.faults.checks import check, erased_positions
from tests.faults.cluster import a_cluster
from tests.faults.evidence import Evidence, caught_up, gather
from tests.faults.faults import Fault
from tests.faults.history import Episode, History, Violation, longest_gap
from tests.faults.load import Load, Pace, loaded
from tests.faults.system import System, a_system
from tests.support.signals import lapse, until

SERVING_SECONDS: Final = 30.0
RECOVERY_SECONDS: Final = 60.0
"""So long after a fault is healed may the service be away, or something be amiss with it."""
_WARM_UP_WRITES: Final = 20
_CALM_WRITES: Final = 50
_AT_ONCE: Final = (1, 1, 2, 3)


class Round(Struct, frozen=True, kw_only=True):
    """What is to be done."""

    seed: int
    faults: Sequence[Fault]
    mixed_seconds: float = 0.0
    """For so long faults come at random, several at once; 0: each once, alone, in order."""
    longest: float = 30.0
    """No fault lasts longer, in seconds."""
    pace: Pace = Pace()


class Outcome(Struct, kw_only=True):
    """What came of a round."""

    seed: int
    command: str = ""
    """What repeats it."""
    seconds: float = 0.0
    episodes: list[Episode] = field(default_factory=list[Episode])
    violations: list[Violation] = field(default_factory=list[Violation])
    excerpts: list[list[str]] = field(default_factory=list[list[str]])
    """Of the history, for each violation."""
    acknowledged: int = 0
    events: int = 0
    repeated: int = 0
    """Writes that were sent more than once."""
    replayed: int = 0
    """Writes that were answered from a receipt in the end."""
    statuses: dict[str, int] = field(default_factory=dict[str, int])


Tell = Callable[[str], None]


class Runner:
    """Runs one round in a folder."""

    def __init__(self, plan: Round, folder: Path, tell: Tell) -> None:
        self._plan = plan
        self._folder = folder
        self._tell = tell
        self._chance = random.Random(plan.seed)  # noqa: S311 - faults to repeat, not a secret
        self.outcome = Outcome(seed=plan.seed)

    async def run(self) -> Outcome:
        """The round, from an empty database to the checks."""
        history = History(self._folder / "history.jsonl")
        try:
            async with self._system() as system:
                self.outcome.events = len((await self._hurt(system, history)).log)
        finally:
            # One that is broken off has found something too.
            self._sum_up(history)
            history.close()
        return self.outcome

    def _system(self) -> AbstractAsyncContextManager[System]:
        if any(fault.is_clustered for fault in self._plan.faults):
            return a_cluster(self._folder, seed=self._plan.seed)
        return a_system(self._folder, seed=self._plan.seed)

    async def _hurt(self, system: System, history: History) -> Evidence:
        pace = self._plan.pace
        async with loaded(system, history, seed=self._plan.seed, pace=pace) as load:
            await until(lambda: len(history.written_at) >= _WARM_UP_WRITES, 60)
            if self._plan.mixed_seconds:
                await self._mixed(system, history)
            else:
                for fault in self._plan.faults:
                    await self._episode(system, history, [fault])
            return await self._judged(system, history, load)

    async def _judged(self, system: System, history: History, load: Load) -> Evidence:
        self._tell("checking")
        await self._calm(history)
        await load.finish()
        await caught_up(system.settings, history)
        evidence = await gather(system, history)
        sequences = {name: len(feed) for name, feed in evidence.feeds.items()}
        await load.readers_reach(sequences, evidence.last_sequence)
        load.account_for_holes(erased_positions(evidence))
        for violation in check(evidence):
            history.violated(violation.check, violation.words, *violation.about)
        for words in system.ended_unasked:
            history.violated("ended", words)
        return evidence

    async def _mixed(self, system: System, history: History) -> None:
        over = history.now + self._plan.mixed_seconds
        together = [fault for fault in self._plan.faults if not fault.is_alone]
        while history.now < over:
            number = min(self._chance.choice(_AT_ONCE), len(together))
            chosen: list[Fault] = []
            for fault in self._chance.sample(together, number):
                if all(fault.goes_with(other) for other in chosen):
                    chosen.append(fault)
            await self._episode(system, history, chosen)
            await lapse(self._chance.uniform(0.2, 1.5))

    async def _episode(self, system: System, history: History, faults: list[Fault]) -> None:
        """Inject these, the later ones a little later, and wait until the service is back."""
        names = [fault.name for fault in faults]
        seconds = [fault.seconds(self._chance, self._plan.longest) for fault in faults]
        later = [0.0, *(self._chance.uniform(0, 2) for _ in faults[1:])]
        self._tell(
            " and ".join(f"{one} {lasts:.1f} s" for one, lasts in zip(names, seconds, strict=True))
        )
        began = history.now

        async def inject(fault: Fault, wait: float, lasts: float) -> None:
            await lapse(wait)
            history.note("fault", name=fault.name, seconds=round(lasts, 2))
            async with fault.inject(system):
                await lapse(lasts)
            history.note("healed", name=fault.name)

        async with asyncio.TaskGroup() as group:
            for fault, wait, lasts in zip(faults, later, seconds, strict=True):
                group.create_task(inject(fault, wait, lasts))
        healed = history.now
        await self._recovered(system, history, healed, names)
        for name in names:
            self.outcome.episodes.append(
                Episode(
                    fault=name,
                    began=began,
                    healed=healed,
                    recovered=history.now,
                    no_write_seconds=longest_gap(history.written_at, began, history.now),
                    no_read_seconds=longest_gap(history.fresh_at, began, history.now),
                    with_others=tuple(other for other in names if other != name),
                )
            )

    async def _recovered(
        self, system: System, history: History, healed: float, names: list[str]
    ) -> None:
        def serves() -> bool:
            return bool(
                history.written_at
                and history.fresh_at
                and history.written_at[-1] > healed
                and history.fresh_at[-1] > healed
            )

        for what, is_true, seconds in (
            ("writes and reads are not answered again", serves, SERVING_SECONDS),
            ("/health/ready does not say that all is well", system.is_ready, RECOVERY_SECONDS),
        ):
            try:
                await until(is_true, seconds)
            except TimeoutError:
                words = f"{seconds:.0f} s after the end of {', '.join(names)}: {what}"
                unwell = await system.unwell()
                history.violated("recovery", f"{words} ({unwell})" if unwell else words)

    async def _calm(self, history: History) -> None:
        """Once it serves again, it refuses nobody, over none of its connections."""
        began, known = history.now, len(history.written_at)
        try:
            await until(lambda: len(history.written_at) >= known + _CALM_WRITES, RECOVERY_SECONDS)
        except TimeoutError:
            words = f"{len(history.written_at) - known} writes in {RECOVERY_SECONDS:.0f} s"
            history.violated("recovery", f"without a fault it answered {words}")
        refused = [moment for moment in history.refused_at if moment > began]
        if refused:
            words = f"{len(refused)} writes were refused, the first {refused[0] - began:.1f} s"
            history.violated("recovery", f"{words} after it served again")

    def _sum_up(self, history: History) -> None:
        out = self.outcome
        out.seconds = history.now
        out.violations = history.violations
        out.excerpts = [history.excerpt(one.about) for one in history.violations]
        out.acknowledged = len(history.acknowledged())
        out.repeated = sum(write.attempts > 1 for write in history.writes)
        out.replayed = sum(write.was_replayed for write in history.writes)
        out.statuses = history.statuses
