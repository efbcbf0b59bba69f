"""Every command of the README is run, in order, against a running service."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dev import a_place, clean_environment, running_dev

pytestmark = pytest.mark.timeout(180)

README = (Path(__file__).parent.parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_every_command_of_the_readme_works() -> None:
    start, *blocks = BLOCKS
    # These two start the service and these tests; the e2e tests and this very run are the proof.
    assert [line.split("#")[0].strip() for line in start.splitlines()] == ["make run", "make test"]
    assert len(blocks) >= 5

    with a_place() as place, running_dev(place, "--ephemeral") as dev:
        environment = clean_environment() | {
            "URL": f"{dev.said['url']}/api/v1/external",
            "KEY": dev.said["api_key"],
            "CUSTOMERS_DATABASE_URL": dev.said["database_url"],
            "CUSTOMERS_NATS_URL": dev.said["nats_url"],
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert '"message":"Customer created successfully"' in ran.stdout
    assert '"created":1,"updated":1' in ran.stdout
    assert '"first_name":"Joe"' in ran.stdout
    assert "log head" in ran.stdout.lower()
