"""`customers scrub`: now, or whenever it is due."""

import rich_click as click
from click import option
from rich.console import Console
from rich.text import Text

from runtime.discovery import find_settings
from runtime.logs import configure_logging
from runtime.settings import read_master_keys

_THE_SETTING = 0
# Less than the look-ups of a write wait before their connection is given up.
_LOCK_SECONDS = 4.0


@click.command(epilog="Example: customers scrub")
@option(
    "--every",
    type=click.IntRange(0, 365),
    is_flag=False,
    flag_value=_THE_SETTING,
    metavar="[DAYS]",
    help="Go on for ever, and scrub whenever that many days have passed; without a number "
    "CUSTOMERS_SCRUB_DAYS.",
)
@option(
    "--lock",
    type=click.FloatRange(0.1, 3600),
    default=_LOCK_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long at most others may have to wait for a table; one that takes longer is left.",
)
@option("--with-parent", is_flag=True, hidden=True)
def scrub(every: int | None, lock: float, with_parent: bool) -> None:
    """Clean Postgres' files of what was erased.

    Deleted rows leave their bytes in tables, indexes, statistics and write-ahead log for long. This
    writes all of them anew, while the service goes on. Cut off, it goes on where it was. It needs
    the owner's database URL, and the master keys.
    """
    if every is not None:
        _keep(every, lock, with_parent=with_parent)
        return
    from runtime.operators.scrub import run_scrub  # noqa: PLC0415 - takes long to import

    console = Console(highlight=False)
    with console.status("scrubbing"):
        done = run_scrub(
            find_settings(), lock, lambda words: console.print(Text(f"· {words}"), soft_wrap=True)
        )
    mark = "✓ clean but for what is left over" if done.scrub.left_over else "✓ clean"
    began = f"{done.scrub.started_at:%Y-%m-%d %H:%M:%S} UTC"
    console.print(
        Text(f"{mark}: what was gone at {began} is in no file of this server", style="green"),
        soft_wrap=True,
    )
    console.print(f"  longest lock of a table: {done.longest_lock:.2f} s")


def _keep(every: int, lock: float, *, with_parent: bool) -> None:
    import asyncio  # noqa: PLC0415 - only here

    from runtime.operators.scrub import run_scheduled_scrub  # noqa: PLC0415 - takes long to import

    settings = find_settings()
    configure_logging(settings, "scrub")
    read_master_keys(settings)
    if with_parent:
        from runtime.dev.parent import wait_for_parent  # noqa: PLC0415 - only here

        wait_for_parent()
    asyncio.run(run_scheduled_scrub(settings, every or settings.scrub_days, lock))
