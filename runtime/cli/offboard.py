"""`customers workspaces offboard`: the question, the progress, and the receipt."""

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import rich_click as click
from click import argument, option
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from runtime.cli.export import give_out_customers
from runtime.cli.following import find_operator_settings, say
from runtime.cli.output import progress_bar
from runtime.failure import Failure
from runtime.key_ping import ping_key_change
from runtime.key_rules import REMEMBERED_SECONDS, check_workspace
from runtime.offboarding import (
    ErasedSpace,
    Leaving,
    begin_leaving,
    find_leaving,
    finish_leaving,
    note_exported,
    read_figures,
)
from runtime.operators.offboarding import count_customers, erase_all
from runtime.postgres import connect_as_owner
from runtime.settings import Settings

_NAME = "customers workspaces offboard"


class OffboardingReceipt(Struct, frozen=True, kw_only=True):
    """What was done when a workspace left, and what is still to go."""

    workspace_id: str
    leaving_at: datetime
    exported_at: datetime | None
    offboarded_at: datetime
    erased: list[ErasedSpace]


@click.command(epilog="Example: customers workspaces offboard acme --export acme.ndjson")
@argument("workspace")
@option(
    "--export",
    "out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="First give out its customers as NDJSON; those of the sandbox go to FILE_test.",
)
@option("--yes", is_flag=True, help="Do not ask.")
@option("--json", "as_json", is_flag=True, help="The receipt as one JSON object.")
def offboard(workspace: str, out: Path | None, yes: bool, as_json: bool) -> None:
    """End a workspace: revoke its keys, erase every customer, live and in the sandbox.

    Nothing brings them back. Cut off, it goes on where it was when called again, and what has
    ended shows its receipt again. It waits for requests under way: CUSTOMERS_WRITE_WAIT.
    """
    check_workspace(workspace)
    settings = find_operator_settings()
    with connect_as_owner(settings, _NAME) as connection:
        leaving = find_leaving(connection, workspace)
    if leaving.offboarded_at is None:
        if not yes:
            _ask(settings, leaving)
        leaving = _offboard(settings, leaving, out)
    else:
        _erase_all(settings, leaving)
    _print(settings, leaving, as_json)


def _offboard(settings: Settings, leaving: Leaving, out: Path | None) -> Leaving:
    with connect_as_owner(settings, _NAME) as connection:
        _refuse_late_export(read_figures(connection, leaving, settings.log_id), leaving, out)
        leaving, revoked = begin_leaving(connection, leaving.workspace_id)
    ping_key_change(settings)
    if revoked:
        say(f"{revoked} keys revoked")
    _await_writes(settings, leaving)
    if out is not None and leaving.exported_at is None:
        for data_space, file in zip(leaving.data_spaces, _files(out), strict=True):
            give_out_customers(data_space, None, "ndjson", file)
        with connect_as_owner(settings, _NAME) as connection:
            leaving = note_exported(connection, leaving.workspace_id)
    _erase_all(settings, leaving)
    with connect_as_owner(settings, _NAME) as connection:
        return finish_leaving(connection, leaving, settings.log_id)


def _await_writes(settings: Settings, leaving: Leaving) -> None:
    """What was let in before its key was revoked may still be written."""
    assert leaving.leaving_at is not None, "it leaves"  # noqa: S101 - a type guard
    longest = settings.write_wait + REMEMBERED_SECONDS
    passed = (datetime.now(UTC) - leaving.leaving_at).total_seconds()
    time.sleep(min(longest, max(0.0, longest - passed)))


def _refuse_late_export(erased: list[ErasedSpace], leaving: Leaving, out: Path | None) -> None:
    if out is None or leaving.leaving_at is None or leaving.exported_at is not None:
        return
    if erased:
        raise Failure(
            f"Customers of {leaving.workspace_id} are erased already, and an export would lack "
            "them.",
            f"customers workspaces offboard {leaving.workspace_id}, without --export",
        )


def _files(out: Path) -> tuple[Path, Path]:
    return out, out.with_stem(f"{out.stem}_test")


def _erase_all(settings: Settings, leaving: Leaving) -> None:
    """Nobody is left: whoever was still written meanwhile, by a call given up, is erased too."""
    for data_space in leaving.data_spaces:
        while left := asyncio.run(count_customers(settings, data_space)):
            with progress_bar(f"erasing {data_space}", shares_terminal=False) as bar:
                bar.begin(left)
                asyncio.run(erase_all(settings, data_space, bar.advance))


def _ask(settings: Settings, leaving: Leaving) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: --yes says that it is meant.")
    counts = [
        f"{asyncio.run(count_customers(settings, data_space)):,} customers of {data_space}"
        for data_space in leaving.data_spaces
    ]
    click.echo(f"To be erased: {', '.join(counts)}. All keys are revoked at once.", err=True)
    click.confirm("Erase for ever? Nothing brings them back", abort=True, err=True)


def _print(settings: Settings, leaving: Leaving, as_json: bool) -> None:
    assert leaving.leaving_at is not None, "it has left"  # noqa: S101 - a type guard
    assert leaving.offboarded_at is not None, "it has left"  # noqa: S101 - a type guard
    with connect_as_owner(settings, _NAME) as connection:
        erased = read_figures(connection, leaving, settings.log_id)
    receipt = OffboardingReceipt(
        workspace_id=leaving.workspace_id,
        leaving_at=leaving.leaving_at,
        exported_at=leaving.exported_at,
        offboarded_at=leaving.offboarded_at,
        erased=erased,
    )
    if as_json:
        click.echo(msgspec.json.encode(receipt))
        return
    console = Console(highlight=False)
    console.print(
        f"workspace {receipt.workspace_id}: keys revoked {_time(receipt.leaving_at)}, "
        f"all erased {_time(receipt.offboarded_at)}",
        soft_wrap=True,
    )
    exported = "never" if receipt.exported_at is None else _time(receipt.exported_at)
    console.print(f"exported: {exported}")
    table = Table("data space", "customers erased", "events nobody can read", "messages to delete")
    for space in receipt.erased:
        table.add_row(
            space.data_space,
            f"{space.customers:,}",
            f"{space.events:,}",
            f"of {space.to_delete:,} customers" if space.to_delete else "none",
        )
    console.print(table)
    console.print(
        f"Postgres' files are clean with the next scrub, within {settings.scrub_days} days; "
        f"backups go after {settings.backup_days}. `customers erasures --workspace "
        f"{receipt.workspace_id}` has the receipt of each customer.",
        soft_wrap=True,
    )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
