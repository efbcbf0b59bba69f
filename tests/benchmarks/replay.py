"""How fast and in how much memory a log is given out: `python -m tests.benchmarks.replay [EVENTS]`.

Each command runs in a process of its own, and what it prints is thrown away. Its memory is the most
that it ever held (VmHWM); every customer has one event.
"""

import asyncio
import os
import subprocess
import sys
import time
from typing import Final

from runtime.settings import PREFIX, Settings
from tests.benchmarks.relay import a_deployment, write_backlog

EVENTS: Final = 1_000_000
_COMMANDS: Final = (
    ("replay",),
    ("replay", "--format", "csv"),
    ("export", "customers", "--workspace", "acme"),
    ("export", "customers", "--workspace", "acme", "--format", "csv"),
)


def measure(settings: Settings, command: tuple[str, ...], events: int) -> None:
    """Run a command to its end and print its speed and its memory."""
    given = ("database_url", "nats_url", "master_keys", "log_format")
    environ = os.environ | {PREFIX + name.upper(): getattr(settings, name) for name in given}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime.cli", *command], env=environ, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    assert status == 0, status
    speed, memory = events / seconds, used.ru_maxrss / 1024
    print(f"{' '.join(command)}: {speed:,.0f}/s, {seconds:.1f} s, {memory:.0f} MiB")  # noqa: T201 - what it is for


def main() -> None:
    """Fill a log, then give it out in each way."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with a_deployment() as settings:
        asyncio.run(write_backlog(settings, events))
        for command in _COMMANDS:
            measure(settings, command, events)


if __name__ == "__main__":
    main()
