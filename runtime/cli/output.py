"""What a command gives out in bulk: on stdout or as a whole file, with a bar of how far it is."""

import os
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, TypeAlias

import rich_click as click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from runtime.cli import following
from runtime.failure import Failure

Write: TypeAlias = Callable[[bytes], object]

_TOLD_MAX: Final = 20

OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write there; the file appears when it is whole, and only its owner may read it.",
)


FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "csv"]),
    default="ndjson",
    show_default=True,
    help="A JSON object on each line, or a table for spreadsheets.",
)


def give_out(
    out: Path | None, words: str | None, pages: Callable[["Bar"], AsyncGenerator[bytes]]
) -> bool:
    """Write page after page until Ctrl-C, or until nobody reads on; whether all was written.

    With words, a bar in a terminal says how far it is.
    """

    async def give() -> None:
        with (
            opened_output(out) as write,
            progress_bar(words, shares_terminal=out is None) as bar,
        ):
            async with aclosing(pages(bar)) as written:
                async for lines in written:
                    write(lines)

    return following.run(give(), prints=out is None)


def counted(number: int, what: str) -> str:
    """`1 event`, `2,000 events`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class Faults:
    """Events that could not be read though nobody erased them: the first ones are told at once."""

    def __init__(self) -> None:
        self._count = 0
        self._first = 0

    def tell(self, faults: Iterable[tuple[int, str]]) -> None:
        """Tell of some: the position of each, and why."""
        for position, fault in faults:
            self._first = self._first or position
            self._count += 1
            if self._count <= _TOLD_MAX:
                following.say(f"Event {position} cannot be read: {fault}")

    def check(self) -> None:
        """End with a Failure when there was one."""
        if self._count:
            what = counted(self._count, "event")
            raise Failure(
                f"{what} cannot be read, though nobody erased the customer.",
                f"customers events show {self._first}",
            )


@contextmanager
def opened_output(path: Path | None) -> Generator[Write]:
    """Where bytes go: stdout, or a file that has its name only when the block has ended well."""
    if path is None:
        yield lambda lines: click.echo(lines, nl=False)
        return
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise Failure(f"{path} is there already, and is no file.", "--out customers.ndjson")
    with _written(path):
        file = NamedTemporaryFile(  # noqa: SIM115 - is renamed, or removed, below
            dir=target.parent, prefix=f".{target.name}.", suffix=".part", delete=False
        )
    part = Path(file.name)
    try:
        with file:
            yield lambda lines: _write(path, file.write, lines)
            with _written(path):
                file.flush()
                os.fsync(file.fileno())
        with _written(path):
            part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


class Bar:
    """How far a long work is, on stderr."""

    def __init__(self, progress: Progress | None = None, words: str = "") -> None:
        self._progress = progress or Progress(disable=True)
        self._task = self._progress.add_task(words, total=None)
        self.done = 0

    def begin(self, total: int | None) -> None:
        """So much there is to do."""
        self._progress.update(self._task, total=total)

    def advance(self, by: int) -> None:
        """So much more was done."""
        self.done += by
        self._progress.update(self._task, completed=self.done)


@contextmanager
def progress_bar(words: str | None, *, shares_terminal: bool) -> Generator[Bar]:
    """A bar that is shown in a terminal, unless what is given out would be mixed up with it."""
    console = Console(stderr=True)
    if words is None or not console.is_terminal or (shares_terminal and sys.stdout.isatty()):
        yield Bar()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        _Done(),
        Rate(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as progress:
        yield Bar(progress, words)


class _Done(ProgressColumn):
    """How many of how many."""

    def render(self, task: Task) -> Text:
        """`12,000 of 1,000,000`, or the first alone while the other is unknown."""
        total = "" if task.total is None else f" of {task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{total}")


class Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        """`12,345/s`, or nothing at the beginning."""
        return Text("" if task.speed is None else f"{task.speed:,.0f}/s")


def _write(path: Path, write: Write, lines: bytes) -> None:
    with _written(path):
        write(lines)


@contextmanager
def _written(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise Failure(
            f"{path} cannot be written: {error.strerror}", "--out with a place that can be written"
        ) from error
