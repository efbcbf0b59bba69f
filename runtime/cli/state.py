"""`customers state`: a customer as it was, in words or as JSON."""

import asyncio
from datetime import datetime
from typing import Final

import msgspec
import rich_click as click
from click import option
from msgspec import Raw
from rich.console import Console
from rich.text import Text

from runtime.cli.event_lines import printable
from runtime.cli.following import find_operator_settings, read_customer
from runtime.cli.values import NumberOrMoment
from runtime.operators.past import PastOfLog, State, Status

_LABEL_WIDTH: Final = 27
_STYLES: Final[dict[Status, str]] = {
    "live": "green",
    "deleted": "red",
    "erased": "magenta",
    "not_created": "yellow",
}


@click.command(epilog="Example: customers state --customer ID --at 2026-03-03T18:00:00Z")
@option("--customer", metavar="ID", required=True, help="Which customer; a deleted one too.")
@option(
    "--at",
    type=NumberOrMoment("version"),
    metavar="TIME|VERSION",
    required=True,
    help="A moment like 2026-03-03T18:00:00Z, or a version like 2.",
)
@option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def state(customer: str, at: int | datetime, as_json: bool) -> None:
    """Show a customer as it was, and who had last changed it.

    Also whether it was deleted, or not created yet; of one that was erased since, nobody can say
    more. That somebody looked is recorded: `customers accesses`.
    """
    customer_id = read_customer(customer)
    found = asyncio.run(PastOfLog(find_operator_settings()).state(customer_id, at))
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _print(found)


def _print(found: State) -> None:
    console = Console(highlight=False)
    title = Text(f"customer {found.customer_id} of {found.workspace}", style="bold")
    console.print(title, soft_wrap=True)
    console.print(Text(_headline(found), style=_STYLES[found.status]), soft_wrap=True)
    if found.customer is None:
        return
    if found.actor is not None:
        console.print(_line("by", found.actor), soft_wrap=True)
    if found.reason is not None:
        console.print(_line("because", found.reason), soft_wrap=True)
    members = msgspec.json.decode(found.customer, type=dict[str, Raw])
    for name in ("id", "version"):
        del members[name]
    for name, value in members.items():
        console.print(_line(name, _words(value)), soft_wrap=True)


def _headline(found: State) -> str:
    match found.status:
        case "live":
            return f"version {found.version}, since {found.since}"
        case "deleted":
            return f"deleted by version {found.version}, at {found.since}; before that it was"
        case "erased":
            return f"erased at {found.since}: how it was before, nobody can know any more"
        case "not_created":
            return f"not there yet: it was created at {found.since}"


def _line(label: str, value: str) -> Text:
    return Text(f"  {label.ljust(_LABEL_WIDTH)}", style="dim").append(
        printable(value), style="default"
    )


def _words(value: Raw) -> str:
    """A text as it is, `-` for what is absent, everything else as JSON."""
    decoded: object = msgspec.json.decode(value)
    if decoded is None:
        return "-"
    return decoded if isinstance(decoded, str) else bytes(value).decode()
