"""`customers verify`: the options, and how the outcome is told."""

import sys
from pathlib import Path

import msgspec
import rich_click as click
from click import option
from rich.console import Console
from rich.text import Text

from events.verification import Verified
from runtime.cli import following
from runtime.cli.following import find_operator_settings
from runtime.cli.output import progress_bar
from runtime.cli.values import A_POSITION
from runtime.operators.audit import Audit


@click.command(epilog="Example: customers verify --head kept-elsewhere.jsonl")
@option("--from", "first", type=A_POSITION, default=1, metavar="POSITION", help="The first event.")
@option(
    "--to", "end", type=A_POSITION, metavar="POSITION", help="The last; else where it ends now."
)
@option(
    "--head",
    "files",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Signed heads to compare with, one on each line, beside those that the service kept; "
    "may be repeated.",
)
@option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def verify(first: int, end: int | None, files: tuple[Path, ...], as_json: bool) -> None:
    """Prove that the log is what was written, or name the first position where it is not.

    Every digest, the chain and the Merkle root are computed anew from the rows, and compared with
    all signed heads: of the database, of CUSTOMERS_HEAD_FILE, of JetStream, and of --head. Exit
    status 1 when something is wrong.
    """
    if end is not None and end < first:
        raise click.UsageError(f"--to {end} comes before --from {first}.")
    audit = Audit(find_operator_settings())
    found: list[Verified] = []

    async def work() -> None:
        with progress_bar("verifying", shares_terminal=False) as bar:

            def begun(last: int) -> None:
                bar.begin(last - first + 1)

            def tell(position: int) -> None:
                bar.advance(position - first + 1 - bar.done)

            found.append(await audit.verify(files, first=first, end=end, begun=begun, tell=tell))

    following.run(work(), prints=False)
    for verified in found:
        if as_json:
            click.echo(msgspec.json.encode(_Outcome.of(verified)))
        else:
            _print(verified)
        sys.exit(1 if verified.faults else 0)
    following.say("Ended before it came to an outcome: nothing is proven.")
    sys.exit(1)


class _Outcome(msgspec.Struct, frozen=True, kw_only=True):
    ok: bool
    first_bad_position: int | None
    verified: Verified

    @classmethod
    def of(cls, verified: Verified) -> "_Outcome":
        faults = verified.faults
        return cls(
            ok=not faults,
            first_bad_position=faults[0].position if faults else None,
            verified=verified,
        )


def _print(verified: Verified) -> None:
    console = Console(highlight=False, soft_wrap=True)
    span = f"{verified.first:,} to {verified.end:,}"
    log = f"log {verified.log_id}, generation {verified.generation}"
    if verified.faults:
        first, *others = verified.faults
        console.print(Text(f"✗ position {first.position}: {first.what}", style="red"))
        for fault in others:
            console.print(Text(f"  position {fault.position}: {fault.what}", style="red"))
    elif verified.end < verified.first:
        console.print(Text(f"✓ there is no event in {log}", style="green"))
    else:
        console.print(Text(f"✓ events {span} of {log} are what was written", style="green"))
        console.print(f"  from    {verified.start}")
        console.print(f"  chain   {verified.chain}")
        console.print(f"  root    {verified.root or 'is computed only from the beginning on'}")
    if verified.newest_head is not None:
        agree = "signed head agrees" if verified.heads == 1 else "signed heads agree"
        console.print(f"  {verified.heads:,} {agree}, up to {verified.newest_head.words}")
    for note in verified.notes:
        console.print(Text(f"· {note}", style="yellow"))
