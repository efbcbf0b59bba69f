"""A report as people read it: a table on the terminal, and one for the README."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.benchmarks.figures import (
    AT_FLOOR,
    TIMES,
    Report,
    Row,
    number_words,
    quantity,
)

_VERDICT = {True: "✓", False: "✗", None: ""}
_STYLE = {True: "green", False: "bold red", None: ""}


def show(report: Report, console: Console) -> None:
    """The table, and below it what was skipped, what failed and what differs."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("measure", "ours", "beside it", "ratio", "to reach", ""):
        is_number = name in ("ours", "ratio")
        table.add_column(name, justify="right" if is_number else "left")
    before = ""
    for row in report.rows:
        if before not in ("", row.stage):
            table.add_section()
        before = row.stage
        verdict = Text(_VERDICT[row.reached], style=_STYLE[row.reached])
        table.add_row(*_cells(row), verdict)
    if report.rows:
        console.print(table)
    for line in [*footnotes(report), machine_words(report)]:
        console.print(line, style="dim", soft_wrap=True)
    for row in report.rows:
        if row.note:
            console.print(f"{row.stage}, {row.what}: {row.note}", soft_wrap=True)
    for name, why in report.skipped.items():
        console.print(f"skipped {name}: {why}", soft_wrap=True)
    for name, why in report.failed.items():
        console.print(Text(f"failed {name}: {why}", style="red"), soft_wrap=True)


def markdown(report: Report) -> str:
    """The table for the README, and the machine below it."""
    lines = [
        "| measure | ours | beside it | ratio | to reach | |",
        "|---|---:|---|---:|---|---|",
    ]
    lines += [f"| {' | '.join(_cells(row))} | {_VERDICT[row.reached]} |" for row in report.rows]
    lines += ["", *footnotes(report), f"{machine_words(report)} `{report.command}`"]
    return "\n".join(lines) + "\n"


def footnotes(report: Report) -> list[str]:
    """What the table cannot say in so few words."""
    floors = {row.target.floor for row in report.rows if row.target and row.target.floor}
    return [
        f"* or at its floor: {quantity(floor, 'ms')}, {number_words(AT_FLOOR)}{TIMES} the p99 of a "
        "list that finds nobody."
        for floor in sorted(floors)
    ]


def machine_words(report: Report) -> str:
    """On what, with what and when it was measured, in a sentence."""
    machine = report.machine
    return (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, "
        f"{machine['disk']}; Python {machine['python']}, Postgres {machine['postgres']}, NATS "
        f"{machine['nats']}; commit {machine['commit'] or 'unknown'}, {report.began[:10]}."
    )


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    ratio = "" if row.ratio is None else f"{number_words(row.ratio)}{TIMES}"
    beside = "" if row.beside is None else f"{quantity(row.beside, row.unit)} {row.beside_what}"
    ours = "" if row.ours is None else quantity(row.ours, row.unit)
    return row.what, ours, beside, ratio, ", ".join(_target(row))


def _target(row: Row) -> list[str]:
    """The parts of the target; where there are several, each with its own verdict."""
    if len(row.judged) == 1:
        return [words for words, _ in row.judged]
    return [f"{words} {_VERDICT[verdict]}".rstrip() for words, verdict in row.judged]
