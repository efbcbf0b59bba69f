"""How fast and in how much memory a log is given out: `python -m tests.benchmarks.replay [EVENTS]`.

Each command runs in a process of its own, and what it prints is thrown away. Its memory is the most
that it ever held; every customer has one event.
"""

import asyncio
import subprocess
import sys
import time
from typing import Final

from runtime.settings import Settings
from tests.benchmarks.deployment import a_deployment, environment
from tests.benchmarks.relay import write_backlog

EVENTS: Final = 1_000_000
_COMMANDS: Final = (
    ("replay",),
    ("replay", "--format", "csv"),
    ("export", "customers", "--workspace", "acme"),
    ("export", "customers", "--workspace", "acme", "--format", "csv"),
)
# Prints the memory of what it runs. Linux counts what a process was forked from as its own, so it
# must not be forked from one that is large, as this one is by then.
_MEASURED: Final = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def measure(settings: Settings, command: tuple[str, ...], events: int) -> None:
    """Run a command to its end and print its speed and its memory."""
    started = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURED, sys.executable, "-m", "runtime.cli", *command],
        env=environment(settings),
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds = time.perf_counter() - started
    speed, memory = events / seconds, int(ran.stdout) / 1024
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
