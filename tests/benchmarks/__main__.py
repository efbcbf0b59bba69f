"""All that is promised of speed, in one run: `make bench`, or `python -m tests.benchmarks`."""

import logging
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import rich_click as click
import structlog
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console

from tests.benchmarks import limits, machine, memory, reading, showing, writing
from tests.benchmarks.bench import QUICK, Bench, Sizes
from tests.benchmarks.data import CUSTOMERS
from tests.benchmarks.figures import Report
from tests.benchmarks.plots import draw
from tests.benchmarks.progress import Teller
from tests.benchmarks.wrk import Missing

_OUT: Final = Path(".bench")


class Stage(Struct, frozen=True, kw_only=True):
    """One measure, or some that are taken together."""

    name: str
    about: str
    run: Callable[[Bench], None]
    seconds: float
    """About how long it takes at full size, on two cores."""
    is_large: bool = False
    """Whether it needs the many customers, which the first of these makes."""


STAGES: Final = (
    Stage(name="post", about="creates over 64 connections", run=writing.create_by_many, seconds=90),
    Stage(
        name="post-1",
        about="creates over one connection",
        run=writing.create_one_by_one,
        seconds=30,
    ),
    Stage(name="get", about="gets over 32 connections", run=reading.get_by_id, seconds=45),
    Stage(name="bulk", about="bulk calls of 500", run=writing.create_in_bulk, seconds=45),
    Stage(name="visible", about="from answered to visible", run=writing.become_visible, seconds=28),
    Stage(
        name="limits",
        about="what Postgres and NATS can do",
        run=limits.measure_limits,
        seconds=45,
    ),
    Stage(
        name="rebuild",
        about="the read model built anew",
        run=reading.rebuild,
        seconds=5,
        is_large=True,
    ),
    Stage(
        name="lists",
        about="lists and searches of a million",
        run=reading.lists_of_a_million,
        seconds=220,
        is_large=True,
    ),
    Stage(name="pages", about="deep pages", run=reading.deep_pages, seconds=50, is_large=True),
    Stage(
        name="size",
        about="creates at a million against at 10,000",
        run=writing.create_at_a_million,
        seconds=70,
        is_large=True,
    ),
    Stage(
        name="memory",
        about="memory under a long load (--soak)",
        run=memory.hold_memory,
        seconds=0,
    ),
)
_FILLING_SECONDS: Final = 200.0


def _list_stages(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if is_wanted:
        for stage in STAGES:
            click.echo(f"{stage.name:<10}{stage.about}")
        context.exit()


def _print_markdown(context: click.Context, _: click.Parameter, file: Path | None) -> None:
    if file is not None:
        report = msgspec.json.decode(file.read_bytes(), type=Report)
        click.echo(showing.markdown(report), nl=False)
        context.exit()


@click.command(epilog="Example: make bench ARGS='--only post --only get'")
@click.option(
    "--only",
    "names",
    multiple=True,
    type=click.Choice([stage.name for stage in STAGES]),
    metavar="NAME",
    help="Take only this measure; can be said again for others. --list names them.",
)
@click.option("--quick", is_flag=True, help="Little data, for seconds: to try it, not to measure.")
@click.option(
    "--customers",
    type=click.IntRange(1_000),
    metavar="N",
    help=f"How many are listed and searched; {CUSTOMERS:,} unless said.",
)
@click.option(
    "--soak",
    type=click.FloatRange(0),
    default=0,
    metavar="MINUTES",
    help="Load the service for so long and watch its memory; 30 for the full figure.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=_OUT,
    show_default=True,
    metavar="DIR",
    help="Folder of report.json, the plots and the logs.",
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_stages,
    help="Name the measures.",
)
@click.option(
    "--markdown",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_print_markdown,
    metavar="FILE",
    help="Print a report.json as a table for the README, and measure nothing.",
)
def bench(names: Sequence[str], quick: bool, customers: int | None, soak: float, out: Path) -> None:
    """Measure the service beside what one would write instead, on this machine.

    Ours runs as it is deployed: API, relay and projector, with Postgres and NATS that write through
    to disk. In turn, on the same Postgres, run the peer (FastAPI and SQLAlchemy on one table), and
    what the framework, Postgres and JetStream can do by themselves. Let nothing else run meanwhile.
    A missed target is said and fails nothing; a measure that fails does: exit status 1.
    """
    sizes = QUICK if quick else Sizes()
    sizes = replace(sizes, soak_minutes=soak, customers=customers or sizes.customers)
    stages = [stage for stage in STAGES if not names or stage.name in names]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    out.mkdir(parents=True, exist_ok=True)
    report = Report(
        command=shlex.join(["python", "-m", "tests.benchmarks", *sys.argv[1:]]),
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        machine={},
        sizes=msgspec.to_builtins(sizes),
    )
    try:
        _run(stages, sizes, out, report, console)
    except KeyboardInterrupt:
        console.print("Stopped; what was measured so far is in the report.")
        report.failed["run"] = "stopped"
    _finish(report, out, console)
    sys.exit(1 if report.failed else 0)


def _run(stages: list[Stage], sizes: Sizes, out: Path, report: Report, console: Console) -> None:
    began = time.perf_counter()
    with (
        Teller(console, _expected(stages, sizes)) as teller,
        Bench(sizes, out, report, teller.tell) as bench,
    ):
        teller.begin(stages[0].name)
        report.machine = machine.describe(bench.folder)
        for stage in stages:
            teller.begin(stage.name)
            stage_began, known = time.perf_counter(), len(report.rows)
            trouble = _take(stage, bench, report)
            now = time.perf_counter()
            report.stage_seconds[stage.name] = round(now - stage_began, 1)
            report.seconds = round(now - began, 1)
            _write(report, out)
            teller.end(report.rows[known:], trouble)


def _take(stage: Stage, bench: Bench, report: Report) -> str:
    """What kept it from being measured, if anything did."""
    try:
        stage.run(bench)
    except Missing as missing:
        report.skipped[stage.name] = str(missing)
        return f"skipped: {missing}"
    except Exception as error:  # noqa: BLE001 - the others go on, and this is told
        report.failed[stage.name] = _words_of(error)
        return f"failed: {_words_of(error)}"
    return ""


def _expected(stages: list[Stage], sizes: Sizes) -> dict[str, float]:
    """About how many seconds each takes; the first that needs the many customers makes them."""
    part = sizes.seconds / Sizes().seconds
    seconds = {stage.name: stage.seconds * part + 4 for stage in stages}
    for stage in [stage for stage in stages if stage.is_large][:1]:
        seconds[stage.name] += _FILLING_SECONDS * sizes.customers / CUSTOMERS
    if "memory" in seconds:
        seconds["memory"] += 60 * sizes.soak_minutes
    return seconds


def _words_of(error: BaseException) -> str:
    """What failed, in one line: the first of a group, and what caused it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = f"{type(error).__name__}: {error}".strip().replace("\n", " ")
    return f"{words} ({_words_of(error.__cause__)})" if error.__cause__ else words


def _finish(report: Report, out: Path, console: Console) -> None:
    if not report.machine:
        return
    _write(report, out)
    plots = draw(report, out)
    showing.show(report, console)
    files = ", ".join(str(file) for file in [out / "report.json", *plots])
    console.print(f"{report.seconds / 60:.1f} min; {files}", soft_wrap=True)


def _write(report: Report, out: Path) -> None:
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))


if __name__ == "__main__":
    bench(prog_name="python -m tests.benchmarks")
