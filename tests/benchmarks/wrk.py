"""Load by `wrk`, where it is installed: many connections for little of the processors."""

import shutil
import signal
import subprocess
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec
from msgspec import Struct

from runtime.embedded import children
from tests.benchmarks.deployment import ended
from tests.benchmarks.load import Refused
from tests.support.dev import clean_environment

_SCRIPT: Final = Path(__file__).with_name("load.lua")


class Missing(Exception):
    """What a measure needs is not installed; the words say how it is got."""


class WrkRun(Struct, frozen=True, kw_only=True):
    """What was counted; the percentiles are microseconds at load.PERCENTILES."""

    answers: int
    microseconds: int
    refused: int
    broken: int
    percentiles: list[float]

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return 1_000_000 * self.answers / self.microseconds

    @property
    def distribution(self) -> list[float]:
        """Milliseconds at load.PERCENTILES."""
        return [one / 1000 for one in self.percentiles]


def find_wrk() -> str:
    """The program. Raises Missing."""
    found = shutil.which("wrk")
    if found is None:
        raise Missing("wrk is not on PATH: apt install wrk, or brew install wrk")
    return found


def creates(url: str, key: str, *, connections: int, seconds: float) -> WrkRun:
    """Creates of customers that are unlike any others. Raises Missing, Refused."""
    return _run(url, key, connections, seconds, "create", token_hex(4))


def gets(url: str, key: str, ids: Path, *, connections: int, seconds: float) -> WrkRun:
    """Gets of the customers whose ids stand in a file. Raises Missing, Refused."""
    return _run(url, key, connections, seconds, "get", str(ids))


def same(url: str, *, connections: int, seconds: float) -> WrkRun:
    """The same get again and again. Raises Missing, Refused."""
    return _run(url, "", connections, seconds, "same")


def _run(url: str, key: str, connections: int, seconds: float, *way: str) -> WrkRun:
    command = [find_wrk(), "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["--header", f"X-Api-Key: {key}"] if key else []
    process = children.spawn(
        [*command, "--script", _SCRIPT, url, "--", *way],
        env=clean_environment(),
        death_signal=signal.SIGKILL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with ended(process):
        said, _ = process.communicate()
    if process.returncode != 0 or not said.endswith(b"}\n"):
        raise RuntimeError(f"wrk failed: {said.decode(errors='replace').strip()}")
    counted = msgspec.json.decode(said.splitlines()[-1], type=WrkRun)
    if counted.refused or counted.broken or not counted.answers:
        raise Refused(
            f"{url}: of {counted.answers:,} answers {counted.refused:,} were no success, and "
            f"{counted.broken:,} connections broke or waited too long."
        )
    return counted
