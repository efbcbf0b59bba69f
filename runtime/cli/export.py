"""`customers export …`: all customers of a workspace, or everything that is known of one person."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import rich_click as click
from click import option

from events.envelope import Position, WorkspaceId
from runtime.cli.following import find_operator_settings, read_customer, say
from runtime.cli.output import FORMAT, OUT, Bar, Faults, counted, give_out
from runtime.cli.values import NumberOrMoment
from runtime.csv_cells import Format
from runtime.key_rules import check_data_space
from runtime.operators.past import PastOfLog, Place, export_header
from runtime.operators.person import export_person


@click.group(epilog="Example: customers export customers --workspace acme --out acme.ndjson")
def export() -> None:
    """Exports: all customers of a workspace, or all that is known of one person."""


@export.command(epilog="Example: customers export customers --workspace acme --format csv")
@option("--workspace", required=True, help="Whose customers; a sandbox is `acme_test`.")
@option(
    "--at",
    type=NumberOrMoment("position"),
    metavar="POSITION|TIME",
    help="As they were then; as they are now unless said.",
)
@FORMAT
@OUT
def customers(workspace: str, at: int | datetime | None, form: Format, out: Path | None) -> None:
    """Give out all customers of a workspace as they were at one position, newest created first.

    Each line names that position: {"at_position":N,"customer":{…}}. What is written meanwhile is
    not in it. Deleted customers are left out, and those that are erased by now. One that cannot be
    read though nobody erased it is a line with a `fault`, and exit status 1. That somebody read is
    recorded: `customers accesses`.
    """
    check_data_space(workspace)
    give_out_customers(workspace, Position(at) if isinstance(at, int) else at, form, out)


def give_out_customers(
    workspace: str, position: Position | datetime | None, form: Format, out: Path | None
) -> None:
    """Give out all customers of a workspace; raises Failure when some of them cannot be read."""
    past = PastOfLog(find_operator_settings())
    work = _Exporting(past, WorkspaceId(workspace), position, form)
    if not give_out(out, "export", work.pages):
        unwritten = "" if out is None else f"; {out} was not written"
        say(f"Ended after {work.so_far}{unwritten}")
        sys.exit(130)
    say(work.so_far)
    work.faults.check()


@export.command(epilog="Example: customers export person --customer ID --out jane.json")
@option("--customer", metavar="ID", required=True, help="Of whom; a deleted customer too.")
@OUT
def person(customer: str, out: Path | None) -> None:
    """Give out everything that is known of one person, for a request for access (GDPR, Art. 15).

    One JSON object that explains itself: the customer, every event with all its data, where all
    that is held and what for, and who read it. That somebody read it now is recorded, and in it.
    """
    customer_id = read_customer(customer)
    settings = find_operator_settings()
    if not give_out(out, None, lambda _: export_person(settings, customer_id)):
        say("Ended before all was told" + ("" if out is None else f": {out} was not written"))
        sys.exit(130)


class _Exporting:
    """Gives out page after page and keeps count."""

    def __init__(
        self,
        past: PastOfLog,
        workspace_id: WorkspaceId,
        at: Position | datetime | None,
        form: Format,
    ) -> None:
        self._past = past
        self._workspace_id = workspace_id
        self._at = at
        self._form: Format = form
        self._place: Place | None = None
        self._customers = 0
        self.faults = Faults()

    @property
    def so_far(self) -> str:
        """How far it has come, in words."""
        if self._place is None:
            return "nothing"
        what = f"{counted(self._customers, 'customer')} of {self._workspace_id}"
        return f"{what}, as they were at position {self._place.position}"

    async def pages(self, bar: Bar) -> AsyncGenerator[bytes]:
        """All lines."""

        def begun(place: Place) -> None:
            self._place = place
            bar.begin(place.customers)

        lines = export_header(self._form)
        pages = self._past.export(self._workspace_id, self._at, self._form, begun=begun)
        async with aclosing(pages):
            async for page in pages:
                self._customers += page.customers
                self.faults.tell(page.faults)
                yield lines + page.lines
                lines = b""
                bar.advance(page.customers)
        yield lines
