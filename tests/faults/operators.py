"""What an operator does, with our own commands and nothing else, and what one is told."""

import asyncio
import subprocess

from runtime.status import read_status
from tests.benchmarks.deployment import environment
from tests.faults.system import System
from tests.support.dev import CUSTOMERS
from tests.support.signals import until

_TOLD_SECONDS = 45.0
"""Longer than a relay lets pass between two looks at what stands in the middle of its stream."""


async def operate(system: System, *command: str) -> subprocess.CompletedProcess[str]:
    """Run one of our commands, on the machine of the servers."""
    return await asyncio.to_thread(
        subprocess.run,
        [*CUSTOMERS, *command],
        env=environment(system.settings),
        cwd=system.folder,
        capture_output=True,
        text=True,
        check=False,
    )


async def begin_generation(system: System, reason: str) -> None:
    """What one is told to do where the log is right, and the stream is not."""
    ran = await operate(system, "relay", "new-generation", "--reason", reason)
    assert ran.returncode == 0, ran.stderr
    system.generation += 1


async def problems(system: System) -> str:
    """What `customers status` says is wrong; empty when all is well."""
    status = await asyncio.to_thread(read_status, system.settings, None)
    return " ".join(status.problems)


async def until_told(system: System, words: str) -> None:
    """Wait until `customers status` says these words."""

    async def is_told() -> bool:
        return words in await problems(system)

    await until(is_told, _TOLD_SECONDS)
