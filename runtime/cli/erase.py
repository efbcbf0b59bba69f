"""`customers erase` and `customers erasures`: the options, the question, the receipt as a table."""

import asyncio
import sys
from contextlib import aclosing

import msgspec
import rich_click as click
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from events.envelope import CustomerId, WorkspaceId
from events.erasure_receipt import Place, Receipt
from runtime.cli.erase_check import EraseCommand
from runtime.cli.following import find_operator_settings, read_wanted, reader_may_leave
from runtime.operators.erasure import OperatorErasures, Somebody

_STATES = {"done": "green", "pending": "yellow", "scheduled": "cyan"}


class _Listed(Struct, frozen=True, kw_only=True):
    workspace: str
    receipt: Receipt


@click.command(
    cls=EraseCommand,
    epilog="Example: customers erase --customer 01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21",
)
@click.option("--customer", metavar="ID", required=True, help="Whom to erase, live or deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--check",
    is_flag=True,
    expose_value=False,
    help="Erase nobody: look for what is left of somebody. `customers erase --check --help`.",
)
@click.option("--json", "as_json", is_flag=True, help="The receipt as one JSON object.")
def erase(customer: str, yes: bool, as_json: bool) -> None:
    """Forget a person for ever, everywhere: the customer's data key is destroyed.

    Nothing brings the person back. The receipt says what was destroyed where, and what is still to
    go; `customers erasures` shows it again. Somebody who is erased already has the same receipt.
    """
    customer_id = _customer_of(customer)
    erasures = OperatorErasures(find_operator_settings())
    somebody = asyncio.run(erasures.look(customer_id))
    if not yes and not somebody.is_erased:
        _ask(customer_id, somebody)
    _print(asyncio.run(erasures.erase(somebody.workspace_id, customer_id)), as_json)


@click.command(epilog="Example: customers erasures --workspace acme")
@click.option("--workspace", help="Only its erasures; a sandbox is `acme_test`.")
@click.option("--customer", metavar="ID", help="The receipt of one erasure.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on a line for each.")
def erasures(workspace: str | None, customer: str | None, as_json: bool) -> None:
    """Show who was erased and when, and how far that is; with --customer the receipt.

    A name never stands here: an erased customer has none.
    """
    wanted = read_wanted(workspace, customer, ())
    found = OperatorErasures(find_operator_settings())
    if wanted.customer_id is None:
        with reader_may_leave():
            asyncio.run(_list(found, wanted.workspace_id, as_json))
        return
    somebody = asyncio.run(found.look(wanted.customer_id))
    _print(asyncio.run(found.find(somebody.workspace_id, wanted.customer_id)), as_json)


def _customer_of(text: str) -> CustomerId:
    customer_id = read_wanted(None, text, ()).customer_id
    assert customer_id is not None, "it was given"  # noqa: S101 - a type guard
    return customer_id


def _ask(customer_id: CustomerId, somebody: Somebody) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: --yes says that it is meant.")
    is_deleted = somebody.newest == "CustomerDeleted"
    click.echo(
        f"Customer {customer_id} of workspace {somebody.workspace_id}: made "
        f"{somebody.created_at:%Y-%m-%d}, at version {somebody.events}, "
        f"{'deleted' if is_deleted else 'last changed'} {somebody.changed_at:%Y-%m-%d}.",
        err=True,
    )
    click.confirm("Erase for ever? Nothing brings it back", abort=True, err=True)


def _print(receipt: Receipt, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(receipt))
        return
    table = Table("where", "state", "when", "count", "what", title_justify="left")
    for place in receipt.places:
        count = "" if place.count is None else f"{place.count:,}"
        state = f"[{_STATES[place.state]}]{place.state}"
        table.add_row(place.where, state, _when(place), count, place.what)
    console = Console(highlight=False)
    title = f"customer {receipt.customer_id}, erased {_short(receipt.erased_at)}"
    console.print(title, soft_wrap=True)
    console.print(table)
    console.print("What stays:")
    for sentence in receipt.kept:
        console.print(f"· {sentence}")


async def _list(found: OperatorErasures, workspace_id: WorkspaceId | None, as_json: bool) -> None:
    count = pending = 0
    async with aclosing(found.find_all(workspace_id)) as all_of_them:
        async for workspace, receipt in all_of_them:
            count += 1
            waiting = [place.where for place in receipt.places if place.state == "pending"]
            pending += bool(waiting)
            if as_json:
                click.echo(msgspec.json.encode(_Listed(workspace=workspace, receipt=receipt)))
            else:
                state = f"pending: {', '.join(waiting)}" if waiting else "done"
                at = _short(receipt.erased_at)
                click.echo(f"{at}  {receipt.customer_id}  {workspace}  {state}")
    if not as_json:
        click.echo(f"{count:,} erased, {pending:,} of them not finished", err=True)


def _when(place: Place) -> str:
    if place.by is not None:
        return f"by {_short(place.by)[:10]}"
    return "" if place.at is None else _short(place.at)


def _short(time: str) -> str:
    return f"{time[:10]} {time[11:19]} UTC"
