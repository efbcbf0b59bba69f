"""`customers status --watch`: the same again and again, until Ctrl-C."""

import asyncio
import time
from contextlib import nullcontext

from msgspec.structs import replace
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from runtime.cli.following import run
from runtime.cli.tables import Rates, print_json, print_status, watched_view
from runtime.discovery import find_running, find_settings
from runtime.logs import configure_logging
from runtime.status import Status, read_status


def watch_status(every: float, *, as_json: bool) -> None:
    """Look every so many seconds; in a terminal in place, into a pipe one behind the other."""
    settings = find_settings()
    # That a server is away stands in what is shown.
    configure_logging(replace(settings, log_level="error"), "status")
    console = Console(highlight=False)
    in_place = console.is_terminal and not as_json

    async def look_for_ever() -> None:
        before: tuple[float, Status] | None = None
        live = Live(console=console, auto_refresh=False) if in_place else nullcontext()
        with live as shown:
            while True:
                found = await asyncio.to_thread(read_status, settings, find_running())
                now = time.monotonic()
                if as_json:
                    print_json(found)
                elif shown is None:
                    print_status(found)
                else:
                    rates = rates_of(before[1], found, now - before[0]) if before else None
                    shown.update(_view(found, rates, every), refresh=True)
                before = now, found
                await asyncio.sleep(every)

    run(look_for_ever())


def rates_of(before: Status, now: Status, seconds: float) -> Rates:
    """How many events a second came between two looks; None where one of them knows of none."""

    def rate(first: int | None, second: int | None) -> float | None:
        return None if first is None or second is None else (second - first) / seconds

    return Rates(
        log=rate(before.log_head, now.log_head),
        stream=rate(before.stream_sequence, now.stream_sequence),
        read_model=rate(before.checkpoint, now.checkpoint),
    )


def _view(found: Status, rates: Rates | None, every: float) -> Group:
    words = f"{time.strftime('%H:%M:%S')}, again every {every:g} s; Ctrl-C ends"
    nothing = Rates(log=None, stream=None, read_model=None)
    return Group(Text(words, style="dim"), watched_view(found, rates or nothing))
