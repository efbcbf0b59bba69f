"""How fast a log is verified and signed: `python -m tests.benchmarks.verify [EVENTS]`.

Each command runs in a process of its own, as an operator runs it, and its start counts. There is
one event a customer, so that as many data keys are opened as events are hashed.
"""

import asyncio
import subprocess
import sys
import time
from typing import Final

import psycopg
from msgspec.structs import replace

from runtime.settings import Settings
from tests.benchmarks.deployment import a_deployment, environment
from tests.benchmarks.relay import write_backlog
from tests.support.tampering import SIGNING_KEYS

EVENTS: Final = 1_000_000
_MORE: Final = 10_000


def seconds(settings: Settings, *command: str) -> float:
    """How long a command takes, which has to end well."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "runtime.cli", *command],
        env=environment(settings),
        check=True,
        capture_output=True,
    )
    return time.monotonic() - began


def measure(settings: Settings, events: int) -> list[str]:
    """What each command took, in words."""
    asyncio.run(write_backlog(settings, events))
    with psycopg.connect(settings.database_url, autocommit=True) as owner:
        owner.execute("ANALYZE")
    first_head = seconds(settings, "head")
    asyncio.run(write_backlog(settings, _MORE))
    next_head = seconds(settings, "head")
    again = seconds(settings, "head")
    prove = seconds(settings, "prove", str(events // 2))
    verify = seconds(settings, "verify")
    without = seconds(replace(settings, master_keys=""), "verify")
    return [
        f"verify: {events / verify:,.0f} events/s over {events:,}, every data key opened",
        f"verify without master keys: {events / without:,.0f} events/s",
        f"the first head: {first_head:.2f} s; one {_MORE:,} events later: {next_head:.2f} s",
        f"a head when nothing happened: {again:.2f} s",
        f"prove: {prove:.2f} s",
    ]


def main() -> None:
    """Measure once and say so."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS
    with a_deployment() as settings:
        signing = replace(settings, signing_keys=SIGNING_KEYS)
        sys.stdout.write("".join(f"{line}\n" for line in measure(signing, events)))


if __name__ == "__main__":
    main()
