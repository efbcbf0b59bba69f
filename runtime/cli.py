"""The command line `customers`: parsing and printing only.

Each command imports what it needs when it runs, so that `--help` and a wrong option are answered at
once. A failure is two lines, what failed and what to try next, and exit status 1.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import rich_click as click

from runtime.cli_root import LazyGroup, RootGroup

if TYPE_CHECKING:
    from runtime.settings import Settings

_PARENT_GONE_SECONDS = 15.0
_with_parent = click.option("--with-parent", is_flag=True, hidden=True)


@click.group(cls=RootGroup)
@click.version_option(package_name="customers")
def customers() -> None:
    """Customers, event-sourced: a provable log in Postgres, published over NATS JetStream.

    Start with `customers dev`: it needs no database, no broker and no Docker.
    """


@customers.command(epilog="Example: customers dev --ephemeral --port 0 --seed 1000")
@click.option("--ephemeral", is_flag=True, help="Keep nothing: a new folder, removed in the end.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where the data are kept.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the API; 0 takes a free one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout when ready.")
@click.option("--seed", type=click.IntRange(0, 1_000_000), default=0, help="Make so many customers.")
def dev(
    ephemeral: bool, data_dir: Path | None, port: int | None, as_json: bool, seed: int
) -> None:
    """Run everything on this machine: Postgres, NATS, API, relay and projector.

    CUSTOMERS_DATABASE_URL and CUSTOMERS_NATS_URL make it use those servers instead of its own.
    """
    from runtime.dev import DevOptions, run_dev
    from runtime.dev_folder import DEFAULT_FOLDER
    from runtime.logs import configure_logging
    from runtime.settings import read_settings

    if ephemeral and data_dir is not None:
        raise click.UsageError("--ephemeral keeps nothing, so --data-dir has no meaning with it.")
    settings = read_settings(os.environ)
    configure_logging(settings, "dev")
    options = DevOptions(
        folder=None if ephemeral else data_dir or DEFAULT_FOLDER,
        port=settings.port if port is None else port,
        as_json=as_json,
        seed=seed,
    )
    run_dev(settings, options, _migrate)


def _migrate(settings: "Settings") -> list[str]:
    from runtime import processes

    return processes.migrate(settings)


@customers.command(epilog="Example: customers migrate")
def migrate() -> None:
    """Bring the database to this version; safe to run at any time, also twice at once."""
    from runtime.discovery import find_settings

    applied = _migrate(find_settings())
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("nothing to apply: the database is at this version")


@customers.command(epilog="Example: customers api --side query --port 8081")
@click.option("--side", type=click.Choice(["both", "command", "query"]), default="both",
    show_default=True, help="Serve the writes, the reads, or both.")
@click.option("--host", help="Address to listen on, instead of CUSTOMERS_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Instead of CUSTOMERS_PORT; 0: any.")
@_with_parent
def api(
    side: Literal["both", "command", "query"],
    host: str | None,
    port: int | None,
    with_parent: bool,
) -> None:
    """Serve HTTP; says `{"port": N}` on stdout when it listens."""
    from msgspec.structs import replace

    settings = _start_process("api")
    settings = replace(
        settings,
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
    )
    from runtime import processes

    _run(with_parent, lambda: processes.run_api(settings, side, click.echo))
