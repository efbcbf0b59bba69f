"""`customers master-keys …`: which one wraps how much, and wrapping all by the current one."""

import asyncio
import sys

import msgspec
import rich_click as click
from click import option
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from runtime.discovery import find_settings
from runtime.failure import Failure
from runtime.operators.keys import KeysInUse, KeyUse, read_keys_in_use, rewrap_all
from runtime.settings import Settings

_BATCH = 1000
_ENDS = (
    "With it end the cursors of lists, and the consistency tokens, that were given out while it "
    "was first; cursors of the feed go on. With the last of the keys ends the secret of "
    "`customers listen`, unless CUSTOMERS_WEBHOOK_SECRET has what its --print-secret says."
)


@click.group(epilog="Example: customers master-keys status")
def master_keys() -> None:
    """Master keys: how much each wraps; wrap everything by the current one."""


@master_keys.command(epilog="Example: customers master-keys status --json")
@option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def status(as_json: bool) -> None:
    """Show how many keys each master key wraps; exit status 1 when one of them is missing."""
    found = asyncio.run(read_keys_in_use(find_settings()))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _show(found)
    sys.exit(1 if found.missing else 0)


@master_keys.command(epilog="Example: customers master-keys rewrap")
@option(
    "--batch",
    type=click.IntRange(1, 100_000),
    default=_BATCH,
    show_default=True,
    metavar="N",
    help="Keys in one transaction.",
)
def rewrap(batch: int) -> None:
    """Wrap every key by the first of CUSTOMERS_MASTER_KEYS, while the service runs.

    Cut off, it goes on where it was when called again. In the end it says which master keys wrap
    nothing any more.
    """
    settings = find_settings()
    before = asyncio.run(read_keys_in_use(settings))
    _refuse_while_behind(before)
    _rewrap(settings, before, batch)
    after = asyncio.run(read_keys_in_use(settings))
    _show(after)
    still = [use for use in after.master_keys if use.keys and use.is_known and not use.is_current]
    if still:
        raise Failure(
            f"{_counted(sum(use.keys for use in still))} are wrapped by an older key again: some "
            "process still has it in front.",
            "start every process with the new CUSTOMERS_MASTER_KEYS, and call this once more",
        )
    sys.exit(1 if after.missing else 0)


def _rewrap(settings: Settings, before: KeysInUse, batch: int) -> None:
    older = sum(use.keys for use in before.master_keys if use.is_known and not use.is_current)
    columns = (
        TextColumn("wrapping"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=older)
        done = asyncio.run(rewrap_all(settings, batch, lambda keys: progress.advance(task, keys)))
    click.echo(f"wrapped by {before.current}: {done.keys:,} data keys, {done.secrets:,} secrets")


def _refuse_while_behind(found: KeysInUse) -> None:
    if found.behind:
        raise Failure(
            f"{found.current} is not known to {', '.join(found.behind)}: customers whose keys it "
            "wraps could not be read there.",
            "start them with the CUSTOMERS_MASTER_KEYS that this command has",
        )


def _show(found: KeysInUse) -> None:
    table = Table("master key", "wraps", "what it is")
    for use in found.master_keys:
        table.add_row(use.master_key_id, f"{use.keys:,}", _words(use))
    Console(highlight=False).print(table)
    for use in found.missing:
        click.echo(
            f"✗ {_counted(use.keys)} are wrapped by {use.master_key_id}, which is not in "
            "CUSTOMERS_MASTER_KEYS: whatever they protect cannot be read. Put it back; if it is "
            "lost, so are those customers."
        )
    for process in found.behind:
        click.echo(f"✗ {process} does not know {found.current}: start it anew.")
    for use in found.unused:
        click.echo(f"✓ {use.master_key_id} wraps nothing and may leave CUSTOMERS_MASTER_KEYS.")
    if found.unused:
        click.echo(_ENDS)
        click.echo(
            "Keep it as long as you keep backups from before: they need it. What it wrapped is in "
            "Postgres' files until the next `customers scrub`."
        )


def _words(use: KeyUse) -> str:
    if use.is_current:
        return "current: wraps what is new"
    if use.is_known:
        return "older" if use.keys else "older, unused"
    return "missing"


def _counted(keys: int) -> str:
    return "1 key" if keys == 1 else f"{keys:,} keys"
