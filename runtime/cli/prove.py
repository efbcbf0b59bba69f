"""`customers prove`: the options, and one JSON object on stdout."""

import asyncio
from pathlib import Path

import msgspec
import rich_click as click
from click import argument, option

from events.envelope import Position
from events.head_sources import HeadFile
from events.heads import NotAHead, SignedHead
from events.proofs import ConsistencyProof, InclusionProof
from runtime.cli import following
from runtime.cli.following import find_operator_settings
from runtime.cli.values import A_POSITION
from runtime.failure import Failure
from runtime.operators.audit import Audit


@click.command(epilog="Example: customers prove 42 >proof.json")
@argument("position", type=A_POSITION, required=False)
@option(
    "--head",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Prove it to this head; of several, to the last one that has the event.",
)
@option(
    "--size", type=A_POSITION, metavar="N", help="Prove it to the tree over the first N events."
)
@option(
    "--consistency",
    nargs=2,
    metavar="OLD NEW",
    help="Prove that the log of OLD is the beginning of that of NEW: each a file, whose last head "
    "counts, or a number of events.",
)
def prove(
    position: int | None,
    file: Path | None,
    size: int | None,
    consistency: tuple[str, str] | None,
) -> None:
    """Prove that an event is in the log, or that the log was only ever added to.

    Prints one JSON object with all that is needed to verify it without the service: the README has
    a program of a few lines that does. The payload stands in it encrypted. Unless said otherwise,
    the event is proven to the newest signed head, or to the log as it is now if there is none.
    """
    if (position is None) == (consistency is None):
        raise click.UsageError("Say either the POSITION of an event, or --consistency OLD NEW.")
    if (file is not None) + (size is not None) + (consistency is not None) > 1:
        raise click.UsageError("--head, --size and --consistency exclude one another.")
    if position is not None and size is not None and size < position:
        raise click.UsageError(f"The tree over {size} events has no position {position}.")
    head = None if file is None else _last_head(file, position or 0)
    ends = None if consistency is None else (_end(consistency[0]), _end(consistency[1]))
    if ends is not None and _size(ends[0]) > _size(ends[1]):
        raise click.UsageError("--consistency takes the smaller log first.")
    audit = Audit(find_operator_settings())
    proofs: list[InclusionProof | ConsistencyProof] = []

    async def work() -> None:
        if ends is not None:
            proofs.append(await audit.prove_consistency(*ends))
        elif position is not None:
            proofs.append(await audit.prove_event(Position(position), size, head))

    following.run(work(), prints=False)
    for proof in proofs:
        click.echo(msgspec.json.encode(proof))


def _end(text: str) -> int | SignedHead:
    """An end of the log: a number of events, or the last head of a file."""
    if text.isascii() and text.isdecimal() and 0 < int(text) < 2**62:
        return int(text)
    if not Path(text).is_file():
        raise click.UsageError(f"{text!r} is neither a file nor a number of events from 1.")
    return _last_head(Path(text), 1)


def _size(end: int | SignedHead) -> int:
    return end if isinstance(end, int) else end.tree_size


def _last_head(path: Path, position: int) -> SignedHead:
    async def read() -> list[SignedHead]:
        heads = HeadFile(path, must_exist=True).read()
        return [head async for head in heads if head.position >= position]

    try:
        heads = asyncio.run(read())
    except NotAHead as error:
        raise Failure(str(error), "the file as the service wrote it") from error
    if not heads:
        raise Failure(f"{path} holds no head over {position}.", "customers head, which signs one")
    return heads[-1]
