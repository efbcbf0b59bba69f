"""How `customers status` and `customers doctor` print what they found."""

import msgspec
import rich_click as click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from runtime.doctor import Check
from runtime.status import Status

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "yellow")}


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How many events a second went where since the look before."""

    log: float | None
    stream: float | None
    read_model: float | None


def print_json(found: Status) -> None:
    """One JSON object on one line of stdout."""
    click.echo(msgspec.json.encode(found))


def print_status(found: Status) -> None:
    """Tables for people, and in the end what is wrong."""
    tables = _versions(found), _positions(found, None), _processes(found)
    Console(highlight=False).print(*tables, _verdict(found), sep="\n", soft_wrap=True)


def watched_view(found: Status, rates: Rates) -> Group:
    """What is wrong first, for a small screen cuts off the end; then the tables, with rates."""
    return Group(_versions(found), _verdict(found), _positions(found, rates), _processes(found))


def _verdict(found: Status) -> Group:
    if not found.problems:
        return Group(Text("✓ all is well", style="green"))
    return Group(*(Text(f"✗ {problem}", style="red") for problem in found.problems))


def _versions(found: Status) -> Text:
    versions = found.versions
    return Text(
        f"customers {versions.customers} · Postgres {versions.postgres or 'unknown'} · "
        f"NATS {versions.nats or 'unknown'} · {versions.migrations_applied or 0} migrations · "
        f"log {found.log_id}, generation {found.generation or 'unknown'}"
    )


def _positions(found: Status, rates: Rates | None) -> Table:
    table = Table("position of", "value", title_justify="left", show_header=False)
    moving = rates or Rates(log=None, stream=None, read_model=None)
    for name, value, rate in (
        ("log head", found.log_head, moving.log),
        ("JetStream stream", found.stream_sequence, moving.stream),
        ("read model", found.checkpoint, moving.read_model),
    ):
        table.add_row(name, _number(value), *_per_second(rate, rates))
    seconds = "" if not found.lag_seconds else f", {found.lag_seconds:,.1f} s"
    table.add_row("lag", f"{_number(found.lag_events)}{seconds}")
    table.add_row("parked customers", _number(found.parked_customers))
    return table


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _per_second(rate: float | None, rates: Rates | None) -> list[str]:
    if rates is None:
        return []
    return ["" if rate is None else f"{rate:+,.0f}/s"]


def _processes(found: Status) -> Table:
    table = Table("process", "pid", "host", "condition", "started (UTC)", "last beat (UTC)")
    for process in found.processes:
        table.add_row(
            process.kind,
            str(process.pid),
            process.host,
            str(process.state.get("condition", "running")),
            f"{process.started_at:%Y-%m-%d %H:%M:%S}",
            f"{process.beat_at:%H:%M:%S}",
        )
    for name in ("postgres", "nats"):
        if found.pids.get(name):
            table.add_row(name, str(found.pids[name]), "", "running", "", "")
    return table


def print_check(check: Check) -> None:
    """One line for what was looked at, and one for its mend."""
    console = Console(highlight=False)
    mark, style = _MARKS[check.is_fine]
    line = Text(f"{mark} ", style=style).append(f"{check.name}: {check.said}", style="default")
    console.print(line, soft_wrap=True)
    if check.is_fine is False:
        console.print(Text(f"  try: {check.mend}", style="yellow"), soft_wrap=True)
