"""A report as people read it."""

from collections import Counter
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.faults.report import FaultFigures, Report, sum_of
from tests.faults.run import Outcome

_EXCERPT_CHARACTERS: Final = 400
_SHOWN: Final = 8


def show(report: Report, console: Console) -> None:
    """The figures of each fault, what did not hold, and the sum of all."""
    figures = report.figures()
    if figures:
        console.print(_table(figures))
    if report.came_together:
        console.print("Of faults that came at once, each row has the time of all of them together.")
    for name, why in report.not_run.items():
        console.print(f"not run: {name}: {why}", style="yellow", soft_wrap=True)
    for words in report.failed:
        console.print(Text(f"failed: {words}", style="red"), soft_wrap=True)
    outcomes = report.outcomes
    minutes = sum(outcome.seconds for outcome in outcomes) / 60
    console.print(
        f"{minutes:.1f} minutes, seeds {', '.join(str(one.seed) for one in outcomes)}: "
        f"{sum(one.times for one in figures.values())} faults, "
        f"{sum_of(outcomes, 'acknowledged'):,} writes acknowledged, "
        f"{sum_of(outcomes, 'repeated'):,} of them sent more than once, "
        f"{sum_of(outcomes, 'replayed'):,} answered from their receipt, "
        f"{sum_of(outcomes, 'events'):,} events, {report.violations} violations",
        soft_wrap=True,
    )


def show_violations(outcome: Outcome, console: Console) -> None:
    """Some violations of a round, with the lines of the history that tell of them.

    The first of each check comes first: one cause breaks several promises, and one says it best.
    """
    told = list(zip(outcome.violations, outcome.excerpts, strict=True))
    names = [violation.check for violation, _ in told]
    later = [names.index(name) != number for number, name in enumerate(names)]
    order = sorted(range(len(told)), key=lambda number: later[number])
    shown = [told[number] for number in order[:_SHOWN]]
    for violation, lines in shown:
        words = f"VIOLATION of {violation.check}: {violation.words}"
        console.print(Text(words, style="bold red"), soft_wrap=True)
        for line in lines:
            console.print(Text(f"  {line[:_EXCERPT_CHARACTERS]}", style="dim"), soft_wrap=True)
    if len(outcome.violations) > _SHOWN:
        counts = Counter(names[number] for number in order[_SHOWN:])
        console.print(f"and more: {dict(counts)}", style="bold red")
    if outcome.violations:
        console.print(f"The same again: {outcome.command}", soft_wrap=True)


def _table(figures: dict[str, FaultFigures]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("fault")
    for name in ("times", "longest", "no write", "no fresh read", "until back"):
        table.add_column(name, justify="right")
    for name, told in figures.items():
        seconds = (
            told.longest_fault,
            told.longest_no_write,
            told.longest_no_read,
            told.longest_recovery,
        )
        table.add_row(name, str(told.times), *(f"{one:.1f} s" for one in seconds))
    return table
