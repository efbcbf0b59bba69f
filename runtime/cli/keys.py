"""`customers keys …` and `customers workspaces …`: parsing and printing only.

A new key goes to stdout alone, what is said about it to stderr: `KEY=$(customers keys create …)`.
"""

import base64
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import psycopg
import rich_click as click
from click import argument, option
from psycopg.rows import TupleRow
from rich.console import Console
from rich.table import Table

from runtime import api_keys
from runtime.cli.root import LazyCommand
from runtime.discovery import find_settings
from runtime.failure import Failure
from runtime.key_ping import ping_key_change
from runtime.key_rules import KNOWN_SCOPES, check_workspace
from runtime.postgres import connect_as_owner
from runtime.settings import Settings

_SPAN = re.compile(r"([0-9]{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_JSON = option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")


@click.group(epilog="Example: customers keys create --workspace acme --scope customers:read")
def keys() -> None:
    """API keys: create, list, restrict, rotate, revoke."""


@click.group(epilog="Example: customers workspaces list")
def workspaces() -> None:
    """Workspaces: one tenant each, with a sandbox beside its live data."""


@keys.command(epilog="Example: customers keys create --workspace acme --scope customers:read")
@option("--workspace", required=True, help="Whose key; made when it is new.")
@option(
    "--scope",
    "scopes",
    multiple=True,
    help=f"What the key may do: {', '.join(KNOWN_SCOPES)} (no call needs the last one yet). "
    "May be repeated; none = everything.",
)
@option("--test", is_flag=True, help="A key for the sandbox of the workspace.")
@option("--expires", help="When it ends: 90d, 12h, or a date like 2027-01-01 (UTC).")
@option("--name", default="", help="What the key is for.")
def create(
    workspace: str, scopes: tuple[str, ...], test: bool, expires: str | None, name: str
) -> None:
    """Make a key. It is shown once and stored only as a hash."""
    expires_at = parse_expiry(expires, datetime.now(UTC)) if expires is not None else None
    with _database() as (connection, settings):
        new = api_keys.issue_key(
            connection,
            workspace=workspace,
            scopes=scopes,
            test=test,
            name=name,
            expires_at=expires_at,
        )
    ping_key_change(settings)
    _show_new(new)


@keys.command("list", epilog="Example: customers keys list --workspace acme")
@option("--workspace", help="Only the keys of this workspace.")
@_JSON
def list_(workspace: str | None, as_json: bool) -> None:
    """Show the keys, oldest first: all but the keys themselves."""
    if workspace is not None:
        check_workspace(workspace)
    with _database() as (connection, _):
        found = api_keys.list_keys(connection, workspace)
    if as_json:
        _print_json(found)
        return
    if not found:
        _say("There are no keys. Make one: customers keys create --workspace acme")
    # Two short lines a key: in a table of 80 columns an id could not be copied in one piece.
    for key in found:
        space = f"{key.workspace_id} (test)" if key.test else key.workspace_id
        click.echo(f"{key.key_id}  {key.hint}  {key.state}")
        click.echo(f"    {space} · {key.name} · {_words(key.scopes)} · ends {_day(key.expires_at)}")


@keys.command(epilog="Example: customers keys scopes KEY_ID --add customers:write")
@argument("key_id")
@option("--set", "only", multiple=True, help="Exactly this scope; may be repeated.")
@option("--add", multiple=True, help="Add this scope; may be repeated.")
@option("--remove", multiple=True, help="Take this scope away; may be repeated.")
@option("--full-access", is_flag=True, help="No restriction at all.")
def scopes(
    key_id: str,
    only: tuple[str, ...],
    add: tuple[str, ...],
    remove: tuple[str, ...],
    full_access: bool,
) -> None:
    """Show or change what a key may do."""
    with _database() as (connection, settings):
        result = api_keys.change_scopes(
            connection, _uuid(key_id), only=only, add=add, remove=remove, full_access=full_access
        )
    if only or add or remove or full_access:
        ping_key_change(settings)
    click.echo(_words(result))


@keys.command(epilog="Example: customers keys rotate KEY_ID --overlap 7d")
@argument("key_id")
@option("--overlap", default="24h", show_default=True, help="How long both are valid.")
def rotate(key_id: str, overlap: str) -> None:
    """Replace a key by a new one with the same rights; the old one ends after the overlap."""
    span = parse_span(overlap)
    with _database() as (connection, settings):
        new = api_keys.rotate_key(connection, _uuid(key_id), span)
    ping_key_change(settings)
    _show_new(new)
    _say(f"The old key {key_id} is valid for {overlap} more.")


@keys.command(epilog="Example: customers keys revoke KEY_ID")
@argument("key_id")
def revoke(key_id: str) -> None:
    """End a key for good, at once."""
    with _database() as (connection, settings):
        ended = api_keys.revoke_key(connection, _uuid(key_id))
    ping_key_change(settings)
    click.echo(f"revoked {key_id}" if ended else f"{key_id} had been revoked before")


@keys.command(epilog="Example: customers keys master")
def master() -> None:
    """Print a new entry for CUSTOMERS_MASTER_KEYS; put it first, and keep the others behind it."""
    key_id = f"{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(2)}"
    click.echo(f"{key_id}:{base64.b64encode(secrets.token_bytes(32)).decode()}")


@workspaces.command("list", epilog="Example: customers workspaces list --json")
@_JSON
def list_workspaces(as_json: bool) -> None:
    """Show every workspace and how many valid keys it has."""
    with _database() as (connection, _):
        found = api_keys.list_workspaces(connection)
    if as_json:
        _print_json(found)
        return
    table = Table("workspace", "since", "valid keys", "left")
    for workspace in found:
        table.add_row(
            workspace.workspace_id,
            _day(workspace.created_at),
            str(workspace.valid_keys),
            _left(workspace),
        )
    Console().print(table)


workspaces.add_command(
    LazyCommand(
        "offboard",
        "runtime.cli.offboard",
        "End a workspace: revoke its keys, erase every customer, live and in the sandbox.",
    )
)


def parse_span(text: str) -> timedelta:
    """`90d`, `12h`, `30m`, `2w` as a span of time."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise Failure(f"{text!r} is no span of time.", "30m, 24h, 90d or 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_expiry(text: str, now: datetime) -> datetime:
    """A span from now, or a day or time in UTC; refuses what is past."""
    remedy = "--expires 90d, or --expires with a day to come, like 2030-01-01"
    try:
        span = parse_span(text) if _SPAN.fullmatch(text) else None
        moment = datetime.fromisoformat(text) if span is None else now + span
    except (ValueError, OverflowError):
        raise Failure(f"{text!r} is no time at which a key can end.", try_next=remedy) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment <= now:
        raise Failure(f"{text!r} is past: the key would never be valid.", try_next=remedy)
    return moment


@contextmanager
def _database() -> Generator[tuple[psycopg.Connection[TupleRow], Settings]]:
    """The database, with the rights of its owner."""
    settings = find_settings()
    with connect_as_owner(settings, "customers keys") as connection:
        yield connection, settings


def _show_new(new: api_keys.NewKey) -> None:
    click.echo(new.key)
    until = f"until {new.expires_at:%Y-%m-%d %H:%M} UTC" if new.expires_at else "until revoked"
    _say(f"Key {new.key_id}, valid {until}. It is shown only now: keep it in a safe place.")


def _say(words: str) -> None:
    click.echo(words, err=True)


def _print_json(found: object) -> None:
    click.echo(msgspec.json.encode(found))


def _words(scopes: list[str]) -> str:
    return " ".join(scopes) or "full access"


def _day(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else "never"


def _left(workspace: api_keys.Workspace) -> str:
    if workspace.offboarded_at is not None:
        return _day(workspace.offboarded_at)
    return "is leaving" if workspace.leaving_at is not None else ""


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Failure(f"{text!r} is no id of a key.", try_next="customers keys list") from None
