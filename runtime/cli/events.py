"""`customers events …`: the options and what follows from them."""

from contextlib import aclosing

import msgspec
import rich_click as click
from click import argument, option
from msgspec import Raw, Struct

from events.append import Head
from events.envelope import Position
from events.walk import Wanted
from runtime.cli import following
from runtime.cli.event_lines import EventLines, print_event
from runtime.cli.following import find_operator_settings, read_start, read_wanted, say
from runtime.failure import Failure
from runtime.operators.log import Opened, OpenedLog, no_event_fits

_LINES = 10


@click.group(epilog="Example: customers events tail --follow")
def events() -> None:
    """Events of the log: follow them, look at one."""


@events.command(epilog="Example: customers events tail --follow --type created --workspace acme")
@option("--lines", "-n", type=click.IntRange(0), help=f"How many events; {_LINES} unless said.")
@option("--follow", "-f", is_flag=True, help="Go on with new events until Ctrl-C.")
@option(
    "--from",
    "start",
    metavar="POSITION",
    help="Begin there instead of near the end; or `beginning`, `now`.",
)
@option("--type", "types", multiple=True, help="Only these, like `created`; may be repeated.")
@option("--customer", metavar="ID", help="Only those of one customer.")
@option("--workspace", help="Only those of one workspace; a sandbox is `acme_test`.")
@option("--json", "as_json", is_flag=True, help='Lines of {"position":N,"event":{…}}.')
def tail(
    lines: int | None,
    follow: bool,
    start: str | None,
    types: tuple[str, ...],
    customer: str | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Show the newest events, oldest first: which fields changed, and who changed them.

    With --json each event stands there whole, as subscribers get it: byte for byte when
    CUSTOMERS_PUBLIC_URL is that of the relay; one of an erased customer says `"erased":true` beside
    its position. With --from, --lines ends it after so many events.
    """
    if start is not None and lines is not None and follow:
        raise click.UsageError("--lines ends what begins at --from, and --follow never ends.")
    if start == "now" and not follow:
        raise click.UsageError("From now on there is nothing to show without --follow.")
    wanted = read_wanted(workspace, customer, types)
    first = read_start(start)
    newest = 0 if start is not None else _LINES if lines is None else lines
    log = OpenedLog(find_operator_settings())
    printer = _Printer(log, as_json, limit=lines if start is not None else None)
    following.run(_tail(printer, wanted, first, newest, follow))
    if printer.printed or follow or lines == 0:
        return
    if wanted == Wanted():
        say("There is no event yet.")
        return
    raise no_event_fits(wanted, first)


@events.command(epilog="Example: customers events show 42")
@argument("position", type=click.IntRange(1, 2**62))
@option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def show(position: int, as_json: bool) -> None:
    """Show all there is of one event, what changed from what to what, and the customer in clear."""
    log = OpenedLog(find_operator_settings())
    following.run(_show(log, Position(position), as_json))


class _Printer:
    """Prints events, at most `limit` of them."""

    def __init__(self, log: OpenedLog, as_json: bool, limit: int | None) -> None:
        self.log = log
        self._lines = None if as_json else EventLines()
        self._limit = limit
        self.printed = 0

    def print(self, page: list[Opened]) -> bool:
        """Print some events; whether more are wanted."""
        if self._limit is not None:
            page = page[: self._limit - self.printed]
        self.printed += len(page)
        if self._lines is None:
            following.write([self.log.positioned(opened) for opened in page])
        else:
            self._lines.print(page)
        return self._limit is None or self.printed < self._limit


async def _tail(
    printer: _Printer, wanted: Wanted, first: Position | None, newest: int, follow: bool
) -> None:
    log = printer.log
    async with (
        log.follower(wanted, say, hears=follow) as follower,
        aclosing(follower.pages(first=first, newest=newest, follow=follow)) as pages,
    ):
        async for page in pages:
            if not printer.print([log.open(keyed) for keyed in page]):
                return


class _Whole(Struct, frozen=True, kw_only=True):
    log_id: int
    generation: int
    position: int
    workspace_sequence: int
    command_id: str
    data_key_id: str | None
    metadata: Raw
    digest: str
    chain: str
    erased: bool
    event: Raw


async def _show(log: OpenedLog, position: Position, as_json: bool) -> None:
    opened, head = await log.find(position)
    if opened is None:
        raise Failure(
            f"There is no position {position}: the log ends at {head.position}.",
            f"customers events show {head.position}" if head.position else "customers status",
        )
    if as_json:
        following.write([msgspec.json.encode(_whole(log, opened, head))])
    else:
        print_event(opened, head)


def _whole(log: OpenedLog, opened: Opened, head: Head) -> _Whole:
    stored = opened.stored
    return _Whole(
        log_id=stored.log_id,
        generation=head.generation,
        position=stored.position,
        workspace_sequence=stored.workspace_sequence,
        command_id=str(stored.command_id),
        data_key_id=None if stored.data_key_id is None else str(stored.data_key_id),
        metadata=Raw(stored.metadata),
        digest=stored.digest.hex(),
        chain=stored.chain.hex(),
        erased=opened.data is None,
        event=Raw(log.cloud_event(opened)),
    )
