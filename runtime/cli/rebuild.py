"""`customers rebuild …`: building the read model anew, going back, looking on."""

import sys
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import TypeVar

import msgspec
import rich_click as click
from click import argument, option
from msgspec.structs import replace
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from projections.building import Step
from projections.comparing import Comparison, Difference
from projections.rebuild import Cancelled, Rebuilds, Switched
from projections.rebuild_record import Rebuild
from runtime.cli import following
from runtime.cli.output import Rate
from runtime.discovery import find_settings
from runtime.logs import configure_logging

T = TypeVar("T")

_JOBS = 2
_EVERY_SECONDS = 5.0
_NAMED = 5
_UNITS = {
    "reading": "events",
    "indexing": "steps",
    "catching up": "events",
    "switching": "switches",
}


@click.group(invoke_without_command=True, epilog="Example: customers rebuild --verify")
@option("--verify", is_flag=True, help="Build beside the live tables, compare, change nothing.")
@option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=_JOBS,
    show_default=True,
    metavar="N",
    help="Processors to keep busy, here and in Postgres; one while the service is used.",
)
@option("--json", "as_json", is_flag=True, help="One JSON object on stdout in the end.")
@click.pass_context
def rebuild(context: click.Context, verify: bool, jobs: int, as_json: bool) -> None:
    """Build the read model anew from the log, and switch to it while the service goes on.

    Interrupted, it goes on where it was when called again. The edition that was live is kept, and
    kept up to date, for the way back: until `customers rebuild drop`, or the next rebuild. --verify
    ends with exit status 1 when the live read model is not what the log says. It needs the owner's
    database URL, and the master keys.
    """
    if context.invoked_subcommand is not None:
        return
    rebuilds = _rebuilds()
    began = time.monotonic()
    if verify:
        with _shown_steps() as tell:
            found = _run(rebuilds.verify(jobs, tell))
        _print_json(found) if as_json else _show_comparison(found)
        sys.exit(1 if found.differences else 0)
    with _shown_steps() as tell:
        done = _run(rebuilds.rebuild(jobs, tell))
    _print_json(done) if as_json else _show_switched(done, time.monotonic() - began)


@rebuild.command(epilog="Example: customers rebuild rollback")
@option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def rollback(as_json: bool) -> None:
    """Go back to the edition that is kept; again, and you are where you were."""
    done = _run(_rebuilds().roll_back())
    _print_json(done) if as_json else _show_switched(done, None)


@rebuild.command(epilog="Example: customers rebuild drop 1")
@argument("edition", type=click.IntRange(1), required=False)
def drop(edition: int | None) -> None:
    """Drop an edition that is not live, or all of them: what is kept, and what is half built."""
    dropped = _run(_rebuilds().drop(edition))
    click.echo(f"dropped {_editions(dropped)}" if dropped else "There is nothing to drop.")


@rebuild.command(epilog="Example: customers rebuild cancel")
def cancel() -> None:
    """Stop the rebuild that is at work, wherever it runs; what it has built is kept."""
    stopped = _run(_rebuilds().cancel())
    click.echo(f"stopped: {_how_far(stopped)}")
    if stopped.purpose == "switch":
        click.echo("customers rebuild goes on from there; customers rebuild drop gives it up")


@rebuild.command(epilog="Example: customers rebuild status --json")
@option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def status(as_json: bool) -> None:
    """Show the rebuild that is at work, or that waits to be gone on with."""
    _, begun, is_at_work = _run(_rebuilds().look())
    if as_json:
        _print_json({"is_at_work": is_at_work, "rebuilds": begun})
        return
    for one in begun:
        words = "is at work" if is_at_work else "waits: customers rebuild goes on with it"
        click.echo(f"{_how_far(one)}, begun {one.begun_at:%Y-%m-%d %H:%M:%S} UTC; {words}")
    if not begun:
        click.echo("No rebuild is at work, and none waits.")


@rebuild.command("list", epilog="Example: customers rebuild list")
@option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")
def list_(as_json: bool) -> None:
    """Show the editions of the read model, and how far each has come."""
    editions, begun, _ = _run(_rebuilds().look())
    if as_json:
        _print_json(editions)
        return
    table = Table("edition", "state", "position", "parked", "size", "made")
    for one in editions:
        state = "live" if one.live else "kept"
        table.add_row(
            str(one.edition),
            state if one.is_current else f"{state}, tables of another version",
            f"{one.position or 0:,}",
            f"{one.parked or 0:,}",
            f"{one.bytes / 2**20:,.0f} MiB",
            f"{one.made_at:%Y-%m-%d %H:%M:%S} UTC",
        )
    for one in begun:
        table.add_row(
            str(one.edition), one.stage, "", "", "", f"{one.begun_at:%Y-%m-%d %H:%M:%S} UTC"
        )
    Console(highlight=False).print(table)


def _rebuilds() -> Rebuilds:
    settings = find_settings()
    # Customers that are parked are told of in the end, and in words.
    configure_logging(replace(settings, log_level="critical"), "rebuild")
    return Rebuilds(settings)


def _run(work: Coroutine[object, object, T]) -> T:
    """Run until it ends; Ctrl-C and `customers rebuild cancel` end it with exit status 1."""
    done: list[T] = []

    async def run() -> None:
        done.append(await work)

    try:
        following.run(run(), prints=False)
    except Cancelled as error:
        _say_cancelled(str(error))
    if not done:
        _say_cancelled("Stopped; what was built is kept.")
    return done[0]


def _say_cancelled(words: str) -> None:
    following.say(f"{words} `customers rebuild` goes on from there.")
    sys.exit(1)


@contextmanager
def _shown_steps() -> Generator[Callable[[Step], None]]:
    """A bar for each stage on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().tell
        return
    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        yield _Bars(progress).tell


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def tell(self, step: Step) -> None:
        if step.stage not in self._tasks:
            self._tasks[step.stage] = self._progress.add_task(step.stage, total=step.total)
        task = self._tasks[step.stage]
        self._progress.update(task, completed=step.done, total=step.total)


class _Lines:
    def __init__(self) -> None:
        self._stage = ""
        self._said_at = 0.0

    def tell(self, step: Step) -> None:
        now = time.monotonic()
        is_end = step.done == step.total
        if step.stage == self._stage and not is_end and now < self._said_at + _EVERY_SECONDS:
            return
        self._stage, self._said_at = step.stage, now
        unit = _UNITS[step.stage]
        following.say(
            f"edition {step.edition}: {step.stage}, {step.done:,} of {step.total:,} {unit}"
        )


def _show_switched(done: Switched, seconds: float | None) -> None:
    console = Console(highlight=False)
    took = "" if seconds is None else f" after {seconds:,.1f} s"
    console.print(
        Text(f"✓ edition {done.edition} is live{took}, at position {done.position:,}", "green"),
        soft_wrap=True,
    )
    console.print(
        f"  edition {done.before} is kept up to date for `customers rebuild rollback`, "
        f"until `customers rebuild drop {done.before}`",
        soft_wrap=True,
    )
    if done.dropped:
        console.print(f"  dropped {_editions(done.dropped)}, which was kept until now")
    for failure in done.parked[:_NAMED]:
        words = (
            f"✗ parked: customer {failure.customer_id} of {failure.workspace_id} "
            f"from position {failure.position:,} on, {failure.reason}"
        )
        console.print(Text(words, style="red"), soft_wrap=True)
    if len(done.parked) > _NAMED:
        console.print(Text(f"✗ and {len(done.parked) - _NAMED:,} more are parked", style="red"))


def _show_comparison(found: Comparison) -> None:
    console = Console(highlight=False)
    for difference in found.differences:
        console.print(Text(f"✗ {difference.kind}: {difference.count:,}", "red"), soft_wrap=True)
        for words in _named(difference):
            console.print(f"    {words}", soft_wrap=True)
    if found.parked:
        console.print(f"· parked, and not compared: {found.parked:,}")
    where = f"edition {found.edition} at position {found.position:,}, {found.customers:,} customers"
    if found.differences:
        console.print(f"{where}: try `customers rebuild`", soft_wrap=True)
    else:
        console.print(Text(f"✓ {where}: what the log says", "green"), soft_wrap=True)


def _named(difference: Difference) -> Generator[str]:
    for one in difference.first:
        if one.customer_id is None:
            yield f"workspace {one.workspace_id}"
        else:
            yield f"customer {one.customer_id} of {one.workspace_id}, position {one.position:,}"
    if difference.count > len(difference.first):
        yield f"and {difference.count - len(difference.first):,} more"


def _how_far(one: Rebuild) -> str:
    if one.purpose == "drop":
        return f"edition {one.edition}, being dropped"
    if one.stage == "reading":
        return f"edition {one.edition}, {one.read:,} of {one.until_position:,} events read"
    return f"edition {one.edition}, {one.stage}"


def _editions(numbers: list[int]) -> str:
    return f"edition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _print_json(found: object) -> None:
    click.echo(msgspec.json.encode(found))
