"""Hurts the service in every way there is, and checks what it promises: `make faults`."""

import asyncio
import logging
import random
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import rich_click as click
import structlog
from rich.console import Console
from rich.text import Text

from tests.benchmarks.deployment import a_folder
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.load import Pace
from tests.faults.report import Report
from tests.faults.run import Round, Runner
from tests.faults.showing import show, show_violations

_OUT: Final = Path(".faults")
_ROUND_MINUTES: Final = 3.0


def _list_faults(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    if is_wanted:
        for fault in FAULTS.values():
            click.echo(f"{fault.name:<32}{fault.about}")
        context.exit()


def _chosen(text: str) -> list[Fault]:
    """The faults of a comma-separated list of names, or of beginnings of names."""
    found: list[Fault] = []
    for word in filter(None, text.split(",")):
        named = [FAULTS[word]] if word in FAULTS else []
        those = named or [fault for fault in FAULTS.values() if fault.name.startswith(word)]
        if not those:
            raise click.BadParameter(f"there is no fault {word!r}; --list names them")
        found += those
    return found or list(FAULTS.values())


@click.command(epilog="Example: make faults ARGS='--minutes 10 --seed 7'")
@click.option(
    "--minutes",
    type=click.FloatRange(0),
    default=0.0,
    metavar="M",
    help="Let faults come at random, several at once, for so long; else each comes once, alone. "
    "Those that go with no other, and those of a cluster beside others, come only without it.",
)
@click.option("--seed", type=int, help="Repeat the run that had this seed; else chance decides.")
@click.option(
    "--only",
    default="",
    metavar="NAMES",
    help="Only these, comma-separated; a beginning means all that begin so.",
)
@click.option(
    "--longest",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="No fault lasts longer.",
)
@click.option(
    "--round",
    "round_minutes",
    type=click.FloatRange(0, min_open=True),
    default=_ROUND_MINUTES,
    show_default=True,
    metavar="MINUTES",
    help="After so long all is checked, and a new system begins.",
)
@click.option(
    "--clients",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Clients that write, in each of three workspaces.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=_OUT,
    show_default=True,
    help="Folder of report.json, and of the history and logs of rounds that failed.",
)
@click.option("--keep", is_flag=True, help="Keep the history and logs of every round.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_faults,
    help="Name the faults.",
)
def faults(
    minutes: float,
    seed: int | None,
    only: str,
    longest: float,
    round_minutes: float,
    clients: int,
    out: Path,
    keep: bool,
) -> None:
    """Run the real processes under load, hurt them, and check every promise from the outside.

    Nothing outside of a folder of its own is touched. Exit status 1 when a promise did not hold;
    its history is shown, and the command that runs the same seed again.
    """
    chosen = _chosen(only)
    if minutes and all(fault.is_alone for fault in chosen):
        raise click.UsageError("What --only names goes with no other: leave out --minutes.")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    first = random.SystemRandom().randrange(10**6) if seed is None else seed
    out.mkdir(parents=True, exist_ok=True)
    report = Report(
        command=shlex.join(["python", "-m", "tests.faults", *sys.argv[1:]]),
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        not_run={fault.name: why for fault in chosen if (why := fault.lacking())},
    )
    chosen = [fault for fault in chosen if fault.name not in report.not_run]
    # Asked to end in whatever way, it takes everything down and shows what it has.
    # Of a job in the background a shell has the first of them ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    rounds = _rounds(first, chosen, minutes, round_minutes, longest, clients)
    if not rounds:
        report.failed.append("nothing was run")
    try:
        for plan in rounds:
            _take(plan, only, out, report, console, keep=keep)
    except KeyboardInterrupt:
        report.failed.append("stopped before its end")
    show(report, console)
    (out / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    sys.exit(0 if report.is_good else 1)


def _interrupt(_number: int, _frame: object) -> None:
    signal.raise_signal(signal.SIGINT)


def _rounds(
    seed: int,
    faults: Sequence[Fault],
    minutes: float,
    round_minutes: float,
    longest: float,
    clients: int,
) -> list[Round]:
    """Rounds of seeds that follow one another; who is alone has a round of its own."""
    pace = Pace(clients=clients)
    together = [fault for fault in faults if not (fault.is_alone or fault.is_clustered)]
    clustered = [fault for fault in faults if fault.is_clustered]
    if not minutes:
        groups = [group for group in (together, clustered) if group]
        groups += [[fault] for fault in faults if fault.is_alone]
        return [
            Round(seed=seed + n, faults=group, longest=longest, pace=pace)
            for n, group in enumerate(groups)
        ]
    number = max(1, round(minutes / round_minutes))
    together = together or [fault for fault in clustered if not fault.is_alone]
    if not together:
        return []
    return [
        Round(
            seed=seed + n,
            faults=together,
            mixed_seconds=60 * minutes / number,
            longest=longest,
            pace=pace,
        )
        for n in range(number)
    ]


def _take(
    plan: Round, only: str, out: Path, report: Report, console: Console, *, keep: bool
) -> None:
    console.print(f"seed {plan.seed}")
    with a_folder() as folder:
        runner = Runner(plan, folder, lambda words: console.print(f"  {words}", soft_wrap=True))
        runner.outcome.command = _again(plan, only)
        report.outcomes.append(runner.outcome)
        try:
            asyncio.run(runner.run())
        except Exception as error:  # noqa: BLE001 - the other rounds go on, and this is told
            report.failed.append(f"seed {plan.seed}: {'; '.join(_causes(error))}")
            console.print(Text(report.failed[-1], style="red"), soft_wrap=True)
            (folder / "logs").mkdir(exist_ok=True)
            (folder / "logs" / "harness.log").write_text(traceback.format_exc(), encoding="utf-8")
            keep = True
        finally:
            show_violations(runner.outcome, console)
            if keep or runner.outcome.violations:
                _keep(folder, out / f"seed-{plan.seed}")


def _causes(error: BaseException) -> list[str]:
    """What went wrong at first, without what several tasks made of it."""
    if isinstance(error, BaseExceptionGroup):
        return [words for one in error.exceptions for words in _causes(one)]
    return [f"{type(error).__name__}: {error}"]


def _again(plan: Round, only: str) -> str:
    """The command that runs this round again."""
    minutes = f" --minutes {plan.mixed_seconds / 60:g} --round 60" if plan.mixed_seconds else ""
    if len(plan.faults) == 1:
        only = plan.faults[0].name
    named = f" --only {only}" if only else ""
    usual = Pace().clients
    clients = "" if plan.pace.clients == usual else f" --clients {plan.pace.clients}"
    words = f"--seed {plan.seed}{minutes} --longest {plan.longest:g}{clients}{named}"
    return f"make faults ARGS='{words}'"


def _keep(folder: Path, place: Path) -> None:
    """Keep what tells of a round; not its data."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder / "logs", place / "logs")
    shutil.copy(folder / "history.jsonl", place)


if __name__ == "__main__":
    faults(prog_name="python -m tests.faults")
