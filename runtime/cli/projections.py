"""`customers projections …`: customers that the read model could not take, and another try."""

import asyncio
import sys

import msgspec
import rich_click as click
from click import argument, option
from rich.console import Console
from rich.text import Text

from runtime.cli.following import read_customer
from runtime.cli.output import counted
from runtime.discovery import find_settings
from runtime.operators.projections import ParkedInEdition, read_parked, retry_parked

_JSON = option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")


@click.group(epilog="Example: customers projections failures")
def projections() -> None:
    """Customers that the read model could not take: show them, try them again.

    Such a customer is parked: reads say `stale`, and show it as it was before. All others go on.
    """


@projections.command(epilog="Example: customers projections failures --json")
@option("--stack", "with_stack", is_flag=True, help="Where it failed too; may quote the customer.")
@_JSON
def failures(with_stack: bool, as_json: bool) -> None:
    """Show every parked customer, from which event on and why; exit status 1 when there is one."""
    found = asyncio.run(read_parked(find_settings()))
    if not with_stack:
        found = [msgspec.structs.replace(failure, stack="") for failure in found]
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _print(found)
    sys.exit(1 if found else 0)


@projections.command(epilog="Example: customers projections retry")
@argument("customers", nargs=-1, metavar="[CUSTOMER]…")
@_JSON
def retry(customers: tuple[str, ...], as_json: bool) -> None:
    """Try parked customers again, or all of them: when the cause is gone, they are up to date.

    Exit status 1 when one stays parked. It needs the owner's database URL, and the master keys.
    """
    wanted = {read_customer(customer) for customer in customers}
    retried = asyncio.run(retry_parked(find_settings(), wanted))
    if as_json:
        plain = msgspec.to_builtins(retried)
        for one in plain:
            del one["failure"]["stack"]
        click.echo(msgspec.json.encode(plain))
    console = Console(highlight=False)
    for one in [] if as_json else retried:
        words, style = "✓ up to date", "green"
        if one.reason is not None:
            words, style = f"✗ still parked: {one.reason}", "red"
        line = Text(f"{_whose(one.failure)}: ").append(words, style=style)
        console.print(line, soft_wrap=True)
    if not retried:
        click.echo("No customer is parked.", err=True)
    sys.exit(1 if any(one.reason is not None for one in retried) else 0)


def _print(found: list[ParkedInEdition]) -> None:
    """Two lines each: in a table of 80 columns no id could be copied in one piece."""
    console = Console(highlight=False)
    for failure in found:
        console.print(Text(_whose(failure), style="bold"), soft_wrap=True)
        since = f"    from position {failure.position} on, since {failure.parked_at}: "
        console.print(Text(since).append(failure.reason, style="red"), soft_wrap=True)
        for line in failure.stack.splitlines():
            console.print(Text(f"    {line}", style="dim"), soft_wrap=True)
    if found:
        parked = counted(len({failure.customer_id for failure in found}), "customer")
        click.echo(f"{parked} parked: customers projections retry", err=True)
    else:
        click.echo("No customer is parked.", err=True)


def _whose(failure: ParkedInEdition) -> str:
    kept = "" if failure.is_live else f", in edition {failure.edition}, which is kept"
    return f"{failure.customer_id} of {failure.workspace_id}{kept}"
