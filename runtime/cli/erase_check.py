"""`customers erase --check`: the options, and what was found where as a table."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TextIO

import msgspec
import rich_click as click
from click import argument, option
from msgspec.structs import replace
from rich.console import Console
from rich.text import Text

from runtime.cli.root import explain, tell
from runtime.discovery import completed_settings
from runtime.leftovers.report import Finding, Report
from runtime.logs import configure_logging
from runtime.operators.erasure_check import PLACES, PlaceName, Wanted, check_erasure, read_values

_NOT_LOOKED = 2
_FOLDER = click.Path(path_type=Path, file_okay=False)


class EraseCommand(click.RichCommand):
    """A command that becomes another one by `--check`."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: object,
    ) -> click.Context:
        """The context of the one or the other."""
        flags = args[: args.index("--")] if "--" in args else args
        if "--check" not in flags:
            return super().make_context(info_name, args, parent, **extra)
        rest = [*args]
        rest.remove("--check")
        return check.make_context(f"{info_name} --check", rest, parent, **extra)


@click.command(epilog="Example: customers erase --check --values-file - --dump backup.dump")
@argument("values", nargs=-1, metavar="[VALUE]…")
@option(
    "--values-file",
    type=click.File(encoding="utf-8"),
    help="One value a line; `-` is stdin. Neither `ps` nor the shell's history has them then.",
)
@option(
    "--in",
    "places",
    multiple=True,
    type=click.Choice(PLACES),
    help="Only there; may be repeated. Everywhere unless said.",
)
@option(
    "--dump",
    "dumps",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="A dump to look through, instead of one that is made now; may be repeated.",
)
@option("--data-dir", type=_FOLDER, help="Postgres' data directory, where it cannot be found out.")
@option("--jetstream-dir", type=_FOLDER, help="NATS' store_dir, where it cannot be found out.")
@option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def check(
    values: tuple[str, ...],
    values_file: TextIO | None,
    places: tuple[PlaceName, ...],
    dumps: tuple[Path, ...],
    data_dir: Path | None,
    jetstream_dir: Path | None,
    as_json: bool,
) -> None:
    """Look for values of an erased person everywhere: tables, log, JetStream, dumps, files.

    Says where one still is and when it will be gone. Exit status 0: nowhere; 1: somewhere; 2: not
    found, but a place, or any, could not be looked at. Values are never printed whole.
    """
    with _failing_with(_NOT_LOOKED):
        report = _look(values, values_file, places, dumps, data_dir, jetstream_dir)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report)
    sys.exit(report.exit_status)


def _look(
    values: tuple[str, ...],
    values_file: TextIO | None,
    places: tuple[PlaceName, ...],
    dumps: tuple[Path, ...],
    data_dir: Path | None,
    jetstream_dir: Path | None,
) -> Report:
    settings = completed_settings()
    configure_logging(replace(settings, log_level="error"), "erase")
    wanted = Wanted(
        values=read_values(values, values_file.read() if values_file else ""),
        places=tuple(dict.fromkeys(places or PLACES)),
        dumps=dumps,
        data_dir=data_dir,
        jetstream_dir=jetstream_dir,
    )
    console = Console(stderr=True)
    with console.status("looking") as status:
        return check_erasure(settings, wanted, status.update)


@contextmanager
def _failing_with(exit_status: int) -> Generator[None]:
    """Who was kept from looking has found nothing, and must not seem to."""
    try:
        yield
    except Exception as error:
        failure = explain(error)
        if failure is None:
            raise
        tell(failure)
        sys.exit(exit_status)


def _print(report: Report) -> None:
    console = Console(highlight=False)
    for value, findings in groupby(sorted(report.findings, key=_by_value), key=_by_value):
        console.print(Text(f"✗ value {value[0]}: {value[1]}", style="red"))
        for gone, places in groupby(sorted(findings, key=_by_end), key=_by_end):
            console.print(Text(f"  gone {gone}", style="yellow"), soft_wrap=True)
            for found in places:
                forms = ", ".join(found.forms)
                line = f"    {found.place}: {_times(found.count)}, as {forms}"
                console.print(Text(line), soft_wrap=True)
    for place in report.searched:
        console.print(Text(f"· looked through: {place.place} ({place.extent})"), soft_wrap=True)
        for limit in place.limits:
            console.print(Text(f"    but {limit}"), soft_wrap=True)
    for skipped in report.unsearched:
        line = Text(f"✗ not looked through: {skipped.place}: {skipped.reason}", style="red")
        console.print(line, soft_wrap=True)
        console.print(Text(f"    try: {skipped.try_next}", style="yellow"), soft_wrap=True)
    match report.exit_status:
        case 0:
            console.print(Text("✓ nowhere", style="green"))
        case 1:
            console.print(Text("✗ found, as said above", style="red"))
        case _:
            console.print(Text("not found where it could be looked for", style="yellow"))


def _by_value(found: Finding) -> tuple[int, str]:
    return found.number, found.value


def _by_end(found: Finding) -> str:
    return found.gone


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
