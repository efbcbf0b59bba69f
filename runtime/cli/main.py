"""The command line `customers`: parsing and printing only.

Each command imports what it needs when it runs, so that `--help` and a wrong option are answered at
once. A failure is two lines, what failed and what to try next, and exit status 1.
"""
# ruff: noqa: PLC0415 - imports in functions are what keeps the commands quick

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import rich_click as click

from runtime.cli.catalogue import LATE_COMMANDS, in_panels
from runtime.cli.root import RootGroup, explain

if TYPE_CHECKING:
    from runtime.settings import Settings

_with_parent = click.option("--with-parent", is_flag=True, hidden=True)


@in_panels
@click.group(cls=RootGroup, epilog="Example: customers dev --ephemeral --seed 1000")
@click.version_option(package_name="customers")
def customers() -> None:
    """Customers, event-sourced: a hash-chained log in Postgres, published over NATS JetStream.

    Start with `customers dev`: it needs no database, no broker and no Docker.
    """


@customers.command(epilog="Example: customers dev --ephemeral --port 0 --seed 1000")
@click.option("--ephemeral", is_flag=True, help="Keep nothing: a new folder, removed in the end.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder of the data; .customers/dev unless said.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the API; 0 takes a free one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line on stdout when ready.")
@click.option(
    "--seed", type=click.IntRange(0, 1_000_000), default=0, metavar="N", help="Make N customers."
)
def dev(ephemeral: bool, data_dir: Path | None, port: int | None, as_json: bool, seed: int) -> None:
    """Run everything on this machine: Postgres, NATS, API, relay and projector.

    CUSTOMERS_DATABASE_URL and CUSTOMERS_NATS_URL make it use those servers instead of its own.
    """
    from runtime.dev.folder import DEFAULT_FOLDER
    from runtime.dev.run import DevOptions, run_dev
    from runtime.logs import configure_logging
    from runtime.settings import read_settings

    if ephemeral and data_dir is not None:
        raise click.UsageError("--ephemeral keeps nothing, so --data-dir means nothing with it.")
    settings = read_settings(os.environ)
    configure_logging(settings, "dev")
    options = DevOptions(
        folder=None if ephemeral else data_dir or DEFAULT_FOLDER,
        port=settings.port if port is None else port,
        as_json=as_json,
        seed=seed,
    )
    run_dev(settings, options)


@customers.command(epilog="Example: customers migrate")
def migrate() -> None:
    """Bring the database to this version; safe to repeat, and to run twice at once."""
    from runtime import schema
    from runtime.discovery import find_settings

    applied = schema.migrate(find_settings())
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("nothing to apply: the database is at this version")


@customers.command(epilog="Example: customers api --side query --port 8081")
@click.option(
    "--side",
    type=click.Choice(["both", "command", "query"]),
    default="both",
    show_default=True,
    help="Serve the writes, the reads, or both.",
)
@click.option("--host", help="Address to listen on, instead of CUSTOMERS_HOST.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Instead of CUSTOMERS_PORT; 0 takes a free one."
)
@_with_parent
def api(
    side: Literal["both", "command", "query"],
    host: str | None,
    port: int | None,
    with_parent: bool,
) -> None:
    """Serve HTTP, and say on stdout where: one line, {"port": N}."""
    from msgspec.structs import replace

    settings = _settings_of_process("api")
    settings = replace(
        settings,
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
    )
    from runtime import processes

    _run("api", with_parent, lambda: processes.run_api(settings, side, click.echo))


@customers.command(epilog="Example: customers openapi >openapi.json")
def openapi() -> None:
    """Print the OpenAPI document of the API, as /openapi.json has it."""
    from runtime.documents import api_document

    click.echo(api_document(), nl=False)


@customers.command(epilog="Example: customers asyncapi >asyncapi.json")
def asyncapi() -> None:
    """Print the AsyncAPI document of the events, as /asyncapi.json has it."""
    from runtime.discovery import completed_settings
    from runtime.documents import events_document

    click.echo(events_document(completed_settings().public_url), nl=False)


@customers.group(invoke_without_command=True, epilog="Example: customers relay")
@_with_parent
@click.pass_context
def relay(context: click.Context, with_parent: bool) -> None:
    """Copy the log into JetStream; a second one stands by."""
    if context.invoked_subcommand is not None:
        return
    settings = _settings_of_process("relay")
    from runtime import processes

    _run("relay", with_parent, lambda: processes.run_relay(settings))


@relay.command(epilog='Example: customers relay new-generation --reason "restored to 12:00"')
@click.option("--reason", required=True, help="Kept beside the generation: what happened.")
def new_generation(reason: str) -> None:
    """Let the log go on in a new JetStream stream, when the old one holds another history.

    For a relay that is stopped because the database was restored to an earlier point, and the log
    is right. Subscribers that read what was lost are told so; the others go on by themselves.
    """
    import asyncio

    from runtime.discovery import find_settings
    from runtime.operators.generations import begin_generation

    fork = asyncio.run(begin_generation(find_settings(), reason))
    click.echo(
        f"generation {fork.generation + 1} begins: the relay fills JetStream stream "
        f"{fork.next_stream} from the log\n"
        f"both have the history up to position {fork.shared}; {fork.stream} goes on to "
        f"{fork.ends_at} with another, and is left as it is"
    )


@customers.command(epilog="Example: customers projector")
@_with_parent
def projector(with_parent: bool) -> None:
    """Keep the read model up to date; a second one stands by."""
    settings = _settings_of_process("projector")
    from runtime import processes

    _run("projector", with_parent, lambda: processes.run_projector(settings))


def _settings_of_process(name: str) -> "Settings":
    from runtime.discovery import find_settings
    from runtime.failure import Failure
    from runtime.logs import configure_logging
    from runtime.settings import read_master_keys

    settings = find_settings()
    configure_logging(settings, name)
    read_master_keys(settings)
    if not settings.nats_url:
        raise Failure(
            f"CUSTOMERS_NATS_URL is not set, and the {name} needs to know where NATS is.",
            "CUSTOMERS_NATS_URL=nats://user:password@host:4222, or customers dev",
        )
    return settings


def _run(
    name: str, with_parent: bool, start: Callable[[], Coroutine[object, object, None]]
) -> None:
    import structlog

    if with_parent:
        from runtime.dev.parent import wait_for_parent

        wait_for_parent()
    try:
        _run_to_the_end(start())
    except Exception as error:
        if explain(error) is None:
            # A fault of ours: one line with the place, and none of the values in the message.
            structlog.get_logger().exception(f"{name}.failed")
            sys.exit(1)
        raise


def _run_to_the_end(work: Coroutine[object, object, None]) -> None:
    if sys.platform == "win32":
        import asyncio

        asyncio.run(work)
    else:
        import uvloop

        uvloop.run(work)


@customers.command(epilog="Example: customers status --json | jq .lag_events")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C; exit status 0.")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long --watch waits between two looks.",
)
def status(as_json: bool, watch: bool, every: float) -> None:
    """Show versions, positions and lag; exit status 1 when something is wrong."""
    if watch:
        from runtime.cli.watching import watch_status

        watch_status(every, as_json=as_json)
        return
    from runtime.cli.tables import print_json, print_status
    from runtime.discovery import find_running, find_settings
    from runtime.status import read_status

    found = read_status(find_settings(), find_running())
    if as_json:
        print_json(found)
    else:
        print_status(found)
    sys.exit(1 if found.problems else 0)


@customers.command(epilog="Example: customers doctor")
def doctor() -> None:
    """Check everything one by one, and say how to mend what is wrong."""
    from runtime.cli.tables import print_check
    from runtime.discovery import completed_settings, find_running
    from runtime.doctor import examine

    is_well = True
    for check in examine(completed_settings(), find_running()):
        print_check(check)
        is_well = is_well and check.is_fine is not False
    sys.exit(0 if is_well else 1)


@customers.command(epilog="Example: customers listen --forward-to http://127.0.0.1:3000/webhooks")
@click.option("--forward-to", metavar="URL", help="Where each event is sent by POST.")
@click.option("--workspace", help="Only its events; a sandbox is `acme_test`.")
@click.option("--type", "types", multiple=True, help="Only these, like `created`; may be repeated.")
@click.option(
    "--from",
    "start",
    metavar="POSITION",
    default="now",
    show_default=True,
    help="The first event; or `beginning`, `now`.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="End after so many events.")
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=5,
    show_default=True,
    metavar="N",
    help="How often an event is sent again when no 2xx comes, after 1, 2, 4 … seconds.",
)
@click.option("--secret", help="Instead of CUSTOMERS_WEBHOOK_SECRET, which no `ps` shows.")
@click.option("--print-secret", is_flag=True, help="Print the secret on stdout, and end.")
@click.option("--print-json", is_flag=True, help="Show what is sent, too.")
@click.option("--skip-verify", is_flag=True, help="Take any certificate of an https URL.")
def listen(
    forward_to: str | None,
    workspace: str | None,
    types: tuple[str, ...],
    start: str,
    limit: int | None,
    retries: int,
    secret: str | None,
    print_secret: bool,
    print_json: bool,
    skip_verify: bool,
) -> None:
    """Send events to a URL as they happen, in order, signed per Standard Webhooks.

    An event is sent until a 2xx answers, then comes the next; one that is given up leads to exit
    status 1 in the end. A receiver verifies with the secret that is printed at the start.
    """
    from runtime.cli.following import find_operator_settings, read_start, read_wanted
    from runtime.cli.listen import Plan, listen, secret_of
    from runtime.operators.log import OpenedLog
    from runtime.webhook import read_url

    if forward_to is None and not print_secret:
        raise click.UsageError("Missing option '--forward-to'.")
    wanted, first = read_wanted(workspace, None, types), read_start(start)
    url = read_url(forward_to) if forward_to is not None else None
    settings = find_operator_settings()
    signing = secret_of(settings, secret)
    if print_secret or url is None:
        click.echo(signing.text)
        return
    plan = Plan(
        url=url,
        wanted=wanted,
        first=first,
        limit=limit,
        retries=retries,
        verify=not skip_verify,
        print_json=print_json,
    )
    sys.exit(listen(OpenedLog(settings), plan, signing))


for _late in LATE_COMMANDS:
    customers.add_command(_late)


def main() -> None:
    """The entry point of the installed command."""
    customers(prog_name="customers")


if __name__ == "__main__":
    main()
