"""`customers head` and `customers signing-keys …`: parsing and printing only."""

import base64
import secrets
from datetime import UTC, datetime
from pathlib import Path

import rich_click as click
from click import option

from events.head_sources import HeadFile
from events.heads import SignedHead, public_bytes, public_pem
from runtime.cli import following
from runtime.cli.following import find_operator_settings
from runtime.discovery import completed_settings
from runtime.failure import Failure
from runtime.operators.audit import Audit
from runtime.settings import read_audit_keys, read_signing_keys


@click.command(epilog="Example: customers head --out heads.jsonl")
@option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Append it there as well, as one line.",
)
def head(out: Path | None) -> None:
    """Sign how the log ends now, and print the head: one line of JSON for who wants to keep it.

    It is kept in the database, in CUSTOMERS_HEAD_FILE and in JetStream too. A log that contradicts
    an earlier head is refused a signature.
    """
    audit = Audit(find_operator_settings())
    signed: list[SignedHead] = []

    async def work() -> None:
        signed.append(await audit.sign())
        if out is not None:
            await _append(out, signed[0])

    following.run(work(), prints=False)
    for one in signed:
        click.echo(one.encoded())


@click.group("signing-keys", epilog="Example: customers signing-keys new")
def signing_keys() -> None:
    """Keys that heads of the log are signed with: make one, show what an auditor needs."""


@signing_keys.command(epilog="Example: customers signing-keys new")
def new() -> None:
    """Print a new entry for CUSTOMERS_SIGNING_KEYS; put it first, and keep the others behind it."""
    key_id = f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(2)}"
    click.echo(f"{key_id}:{base64.b64encode(secrets.token_bytes(32)).decode()}")


@signing_keys.command(epilog="Example: customers signing-keys public --pem")
@option("--pem", "as_pem", is_flag=True, help="In PEM, as OpenSSL reads them.")
def public(as_pem: bool) -> None:
    """Print the public keys, as the auditor puts them into CUSTOMERS_AUDIT_KEYS: `id:base64,…`.

    They prove nothing to whoever got them together with the heads: hand them over by another way.
    """
    settings = completed_settings()
    keys = {name: public_bytes(seed) for name, seed in read_signing_keys(settings).items()}
    keys = keys or read_audit_keys(settings)
    if not keys:
        raise Failure(
            "CUSTOMERS_SIGNING_KEYS is not set, so there is no public key.",
            "customers signing-keys new, which prints a key",
        )
    if as_pem:
        for name, key in keys.items():
            click.echo(f"{name}\n{public_pem(key)}", nl=False)
    else:
        click.echo(
            ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in keys.items())
        )


async def _append(out: Path, signed: SignedHead) -> None:
    try:
        await HeadFile(out).append(signed)
    except OSError as error:
        raise Failure(
            f"{out} cannot be written: {error.strerror}", "--out with a place that can be written"
        ) from error
