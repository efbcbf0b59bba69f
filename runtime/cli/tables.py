"""How `customers status` and `customers doctor` print what they found."""

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.doctor import Check
from runtime.status import Status

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("·", "yellow")}


def print_json(found: Status) -> None:
    """One JSON object on one line of stdout."""
    click.echo(msgspec.json.encode(found))


def print_status(found: Status) -> None:
    """Three tables for people, and in the end what is wrong."""
    console = Console(highlight=False)
    versions = found.versions
    positions = Table("position of", "value", title_justify="left", show_header=False)
    for name, value in (
        ("log head", found.log_head),
        ("JetStream stream", found.stream_sequence),
        ("read model", found.checkpoint),
        ("lag", found.lag_events),
    ):
        positions.add_row(name, "unknown" if value is None else f"{value:,}")
    console.print(
        f"customers {versions.customers} · Postgres {versions.postgres or 'unknown'} · "
        f"NATS {versions.nats or 'unknown'} · {versions.migrations_applied or 0} migrations · "
        f"log {found.log_id}, generation {found.generation or 'unknown'}",
        soft_wrap=True,
    )
    console.print(positions)
    processes = Table("process", "pid", "host", "condition", "started", "last beat")
    for process in found.processes:
        processes.add_row(
            process.kind,
            str(process.pid),
            process.host,
            str(process.state.get("condition", "running")),
            f"{process.started_at:%Y-%m-%d %H:%M:%S} UTC",
            f"{process.beat_at:%H:%M:%S} UTC",
        )
    for name in ("postgres", "nats"):
        if found.pids.get(name):
            processes.add_row(name, str(found.pids[name]), "", "running", "", "")
    console.print(processes)
    for problem in found.problems:
        console.print(Text(f"✗ {problem}", style="red"), soft_wrap=True)
    if not found.problems:
        console.print(Text("✓ all is well", style="green"))


def print_check(check: Check) -> None:
    """One line for what was looked at, and one for its mend."""
    console = Console(highlight=False)
    mark, style = _MARKS[check.is_fine]
    line = Text(f"{mark} ", style=style).append(f"{check.name}: {check.said}", style="default")
    console.print(line, soft_wrap=True)
    if check.is_fine is False:
        console.print(Text(f"  try: {check.mend}", style="yellow"), soft_wrap=True)
