"""`customers replay`: the options and what follows from them."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import rich_click as click
from click import option

from events.envelope import Position
from events.follower import Begun
from events.walk import Wanted
from runtime.cli.following import find_operator_settings, read_wanted, say
from runtime.cli.output import FORMAT, OUT, Bar, Faults, counted, give_out
from runtime.cli.values import A_MOMENT, A_POSITION
from runtime.csv_cells import Format
from runtime.operators.log import OpenedLog
from runtime.operators.replay import Span, header, read_replay


@click.command(epilog="Example: customers replay --workspace acme --out acme.ndjson")
@option("--from", "first", type=A_POSITION, metavar="POSITION", default=1, help="The first event.")
@option("--to", "last", type=A_POSITION, metavar="POSITION", help="The last event.")
@option(
    "--until",
    type=A_MOMENT,
    metavar="TIME",
    help="Instead of --to: what was recorded until then, like 2026-03-03T18:00:00Z.",
)
@option("--workspace", help="Only the events of one workspace; a sandbox is `acme_test`.")
@option("--customer", metavar="ID", help="Only the events of one customer.")
@FORMAT
@OUT
def replay(
    first: Position,
    last: Position | None,
    until: datetime | None,
    workspace: str | None,
    customer: str | None,
    form: Format,
    out: Path | None,
) -> None:
    """Give out the events of the log in clear, oldest first, each with its position.

    It ends where the log ended when it began. Lines are {"position":N,"event":{…}} as of `customers
    events tail --json`; an event of an erased customer says `"erased":true`, and its data is null.
    One that cannot be read though nobody erased it is a line with a `fault`, and exit status 1.
    That somebody read is recorded: `customers accesses`.
    """
    if last is not None and until is not None:
        raise click.UsageError("--to and --until both say where to end.")
    if last is not None and last < first:
        raise click.UsageError(f"--to {last} lies before --from {first}.")
    wanted = read_wanted(workspace, customer, ())
    span = Span(first=first, last=until if last is None else last)
    work = _Replaying(OpenedLog(find_operator_settings()), wanted, span, form)
    if not give_out(out, "replay", work.pages):
        say(f"Ended after {work.so_far}: {_what_remains(out, work.last)}")
        sys.exit(130)
    say(work.so_far)
    work.faults.check()


def _what_remains(out: Path | None, last: Position) -> str:
    if out is not None:
        return f"{out} was not written"
    return f"--from {last + 1} goes on where this was"


class _Replaying:
    """Gives out page after page and keeps count."""

    def __init__(self, log: OpenedLog, wanted: Wanted, span: Span, form: Format) -> None:
        self._log = log
        self._wanted = wanted
        self._span = span
        self._form: Format = form
        self._events = 0
        self._erased = 0
        self.last = Position(span.first - 1)
        self.faults = Faults()

    @property
    def so_far(self) -> str:
        """How far it has come, in words."""
        erased = f", {self._erased:,} of them erased" if self._erased else ""
        return f"{counted(self._events, 'event')} up to position {self.last}{erased}"

    async def pages(self, bar: Bar) -> AsyncGenerator[bytes]:
        """All lines."""

        def begun(begun: Begun) -> None:
            bar.begin(begun.events)

        lines = header(self._form)
        pages = read_replay(self._log, self._wanted, self._span, self._form, tell=say, begun=begun)
        async with aclosing(pages):
            async for page in pages:
                self._events += page.events
                self._erased += page.erased
                self.last = page.last
                self.faults.tell(page.faults)
                yield lines + page.lines
                lines = b""
                bar.advance(page.events)
        yield lines
