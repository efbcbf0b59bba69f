"""`customers accesses`: who read a history or an export, or erased somebody."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import msgspec
import rich_click as click

from runtime.accesses import RecordedAccess, list_accesses
from runtime.cli.following import read_wanted, reader_may_leave
from runtime.cli.values import A_MOMENT
from runtime.discovery import find_settings
from runtime.postgres import connect_as_owner


@click.command(epilog="Example: customers accesses --workspace acme --since 2026-03-03T00:00:00Z")
@click.option("--workspace", help="Only to its data; a sandbox is `acme_test`.")
@click.option(
    "--customer", metavar="ID", help="Only to this one; what was read of all at once is not shown."
)
@click.option("--since", type=A_MOMENT, metavar="TIME", help="A moment like 2026-03-03T18:00:00Z.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on a line for each.")
def accesses(
    workspace: str | None, customer: str | None, since: datetime | None, as_json: bool
) -> None:
    """Show who read histories, the past or exports, and who erased somebody; newest last.

    `erasure`: somebody was erased; `receipt`: that was only looked at. Each was recorded before
    anything was given, and nobody can change or remove it. It says who, when, what and whose:
    nothing of the person but the customer's id.
    """
    wanted = read_wanted(workspace, customer, ())
    with (
        reader_may_leave(),
        connect_as_owner(find_settings(), "customers accesses") as connection,
        closing(
            list_accesses(connection, workspace=workspace, customer=wanted.customer_id, since=since)
        ) as found,
    ):
        if as_json:
            for access in found:
                click.echo(msgspec.json.encode(access))
        else:
            _print(found)


def _print(found: Iterator[RecordedAccess]) -> None:
    """Two lines each: in a table of 80 columns no id could be copied in one piece."""
    access = None
    for access in found:
        click.echo(_what(access))
        click.echo(f"    {click.style(_who(access), dim=True)}")
    if access is None:
        click.echo("Nothing of this was read or erased.", err=True)


def _what(access: RecordedAccess) -> str:
    is_erasure = access.action == "erasure"
    action = click.style(access.action.ljust(8), fg="red" if is_erasure else None, bold=True)
    whose = f"{access.workspace_id or 'all workspaces'}  {access.customer_id or 'all customers'}"
    return f"{access.accessed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}  {action} {whose}"


def _who(access: RecordedAccess) -> str:
    if access.api_key_id is None:
        return f"an operator, logged in to the database as {access.login}"
    return f"{access.api_key_name or 'a key that is not kept any more'} · {access.api_key_id}"
