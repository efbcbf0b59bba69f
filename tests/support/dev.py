"""A `customers dev` of its own for a test: real processes, spoken to over HTTP."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

CUSTOMERS = [sys.executable, "-m", "runtime.cli"]

PATIENT = {"CUSTOMERS_READ_WAIT": "20"}
"""For tests of what reads show and not of how soon: a busy machine fails none of them."""


def clean_environment() -> dict[str, str]:
    """Ours without settings of the service, and without the width of a terminal."""
    # pytest imports readline, which sets these two for every child, workers of a run among them.
    foreign = {name for name in os.environ if name.startswith("CUSTOMERS_")} | {"COLUMNS", "LINES"}
    return {name: text for name, text in os.environ.items() if name not in foreign}


def customers(place: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [*CUSTOMERS, *arguments],
        cwd=place,
        env=clean_environment() | environ,
        capture_output=True,
        text=True,
        check=False,
    )


class Dev:
    """A running `customers dev --json` and what it said."""

    def __init__(self, process: subprocess.Popen[str], place: Path, line: str) -> None:
        self.process = process
        self.place = place
        self.said = json.loads(line)
        self.pids: dict[str, int] = self.said["pids"]
        self.api = httpx.Client(
            base_url=f"{self.said['url']}/api/v1/external",
            headers={"X-Api-Key": self.said["api_key"]},
            timeout=30,
        )

    def status(self) -> dict[str, Any]:
        """What `customers status --json` says."""
        ran = customers(
            Path("/"),
            "status",
            "--json",
            CUSTOMERS_DATABASE_URL=self.said["database_url"],
            CUSTOMERS_NATS_URL=self.said["nats_url"],
        )
        return json.loads(ran.stdout)

    def pid_now(self, name: str) -> int:
        """The process that does this work now; not for an ephemeral one."""
        written = self.place / ".customers" / "dev" / "run.json"
        return json.loads(written.read_bytes())["pids"][name]

    def stop(self) -> tuple[int, str]:
        """Ctrl-C: exit status, and the rest of stdout."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate()
        return self.process.returncode, rest


@contextmanager
def a_place() -> Generator[Path]:
    """A folder to work in that Postgres can reach, also when we are root."""
    path = Path(tempfile.mkdtemp(prefix="customers-e2e-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@contextmanager
def running_dev(place: Path, *arguments: str, **environ: str) -> Generator[Dev]:
    """A `customers dev` that is ready, until the block ends."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*CUSTOMERS, "dev", "--json", "--port", "0", *arguments],
            cwd=place,
            env=clean_environment() | environ,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout
        try:
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                pytest.fail(log.read())
            dev = Dev(process, place, line)
            with dev.api:
                yield dev
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            if not process.stdout.closed:
                process.communicate()
