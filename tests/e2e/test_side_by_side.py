"""Two versions of the service at work on one log, as it is while its processes are replaced."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal

import httpx
import pytest

from runtime.settings import Settings
from tests.benchmarks.deployment import announced_port, environment, spawned
from tests.support.api import make_key
from tests.support.next_version import make_next_version
from tests.support.signals import until

pytestmark = pytest.mark.timeout(180)

Version = Literal["old", "new"]
# Never from the working directory, which may well be this tree.
_CUSTOMERS: Final = [sys.executable, "-P", "-m", "runtime.cli"]


class Deployment:
    """One database and one NATS, and the processes of two versions on them."""

    def __init__(self, settings: Settings, next_tree: Path) -> None:
        usual = environment(settings) | {"CUSTOMERS_READ_WAIT": "20"}
        self._environs: dict[Version, dict[str, str]] = {
            "old": usual,
            "new": usual | {"PYTHONPATH": str(next_tree)},
        }
        self._key = make_key(settings)

    def ran(self, version: Version, *command: str) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself."""
        return subprocess.run(
            [*_CUSTOMERS, *command],
            env=self._environs[version],
            capture_output=True,
            text=True,
            check=False,
        )

    def process(
        self, version: Version, *command: str, log: IO[Any] = sys.stderr
    ) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """A process, until the block ends; `log` gets what it says."""
        return spawned([*_CUSTOMERS, *command], self._environs[version], log)

    @contextmanager
    def api(self, version: Version) -> Generator[httpx.Client]:
        """A client of an API process, until the block ends."""
        with self.process(version, "api", "--port", "0") as process:
            url = f"http://127.0.0.1:{announced_port(process)}/api/v1/external"
            headers = {"X-Api-Key": self._key}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                yield client

    def status(self) -> Any:
        """What `customers status --json` says."""
        return json.loads(self.ran("new", "status", "--json").stdout)


@pytest.fixture(scope="module")
def next_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the version behind this one."""
    return make_next_version(tmp_path_factory.mktemp("next"))


@pytest.fixture
def deployment(settings: Settings, next_tree: Path) -> Deployment:
    """A deployment that is still on this version."""
    return Deployment(settings, next_tree)


def create(api: httpx.Client, name: str) -> str:
    """Create a customer; its id."""
    answer = api.post("/customers", json={"email": f"{name}@example.com"})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["id"]


def rename(api: httpx.Client, customer: str, name: str) -> httpx.Response:
    """Change a customer."""
    return api.put(f"/customers/{customer}", json={"firstName": name})


def name_of(api: httpx.Client, customer: str) -> str:
    """What a fresh read shows."""
    answer = api.get(f"/customers/{customer}")
    assert answer.status_code == 200, answer.text
    assert "stale" not in answer.json()["meta"]
    return answer.json()["data"]["first_name"]


async def test_processes_are_replaced_one_by_one_and_then_the_read_model(
    deployment: Deployment,
) -> None:
    with ExitStack() as old, ExitStack() as new:
        old_relay = old.enter_context(ExitStack())
        old_projector = old.enter_context(ExitStack())
        old_relay.enter_context(deployment.process("old", "relay"))
        old_projector.enter_context(deployment.process("old", "projector"))
        older = old.enter_context(deployment.api("old"))
        first, second = create(older, "first"), create(older, "second")

        migrated = deployment.ran("new", "migrate")
        assert migrated.returncode == 0, migrated.stderr
        assert rename(older, first, "Migrated").status_code == 200
        assert name_of(older, first) == "Migrated"

        new.enter_context(deployment.process("new", "projector"))
        old_projector.close()
        new.enter_context(deployment.process("new", "relay"))
        old_relay.close()
        assert rename(older, first, "Projected").status_code == 200
        assert name_of(older, first) == "Projected"

        newer = new.enter_context(deployment.api("new"))
        assert rename(newer, first, "Of the next").status_code == 200
        assert name_of(older, first) == name_of(newer, first) == "Of the next"
        assert rename(older, second, "Of this one").status_code == 200
        assert name_of(older, second) == name_of(newer, second) == "Of this one"

        rebuilt = deployment.ran("new", "rebuild")
        assert rebuilt.returncode == 0, rebuilt.stderr
        assert name_of(older, first) == name_of(newer, first) == "Of the next"
        assert rename(older, second, "Rebuilt").status_code == 200
        assert [c["first_name"] for c in older.get("/customers").json()["data"]] == [
            "Rebuilt",
            "Of the next",
        ]
        old.close()
        await until(lambda: deployment.status()["problems"] == [])
        verified = deployment.ran("new", "rebuild", "--verify")
        assert verified.returncode == 0, verified.stdout
        assert deployment.ran("new", "verify").returncode == 0


def test_a_newer_process_waits_until_the_database_was_migrated(
    deployment: Deployment,
) -> None:
    heard, said = os.pipe()
    with (
        os.fdopen(heard, encoding="utf-8") as lines,
        os.fdopen(said, "wb") as log,
        deployment.process("new", "api", "--port", "0", log=log) as api,
    ):
        told = json.loads(lines.readline())
        assert (told["missing"], told["mend"]) == (["events/9999_next"], "customers migrate")
        assert deployment.ran("new", "migrate").returncode == 0
        assert announced_port(api)


def test_a_newer_process_that_waits_for_migrations_ends_when_told(deployment: Deployment) -> None:
    heard, said = os.pipe()
    with (
        os.fdopen(heard, encoding="utf-8") as lines,
        os.fdopen(said, "wb") as log,
        deployment.process("new", "relay", log=log) as relay,
    ):
        assert json.loads(lines.readline())["missing"] == ["events/9999_next"]
        relay.terminate()
        assert relay.wait(60) == 0


def test_what_a_newer_version_wrote_an_older_one_asks_to_send_elsewhere(
    deployment: Deployment,
) -> None:
    deployment.ran("new", "migrate")
    with deployment.api("old") as older, deployment.api("new") as newer:
        customer, other = create(older, "shared"), create(older, "other")
        assert rename(newer, customer, "Of the next").status_code == 200
        path = f"/customers/{customer}"

        for answer in (
            rename(older, customer, "Of this one"),
            older.delete(path),
            older.get(f"{path}/history"),
            older.get(path, params={"as_of": "2"}),
            older.get(f"{path}/personal-data"),
        ):
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
            assert "newer version" in answer.json()["message"]
        assert older.get("/events").status_code == 200
        assert rename(older, other, "Unmoved").status_code == 200
        assert rename(newer, customer, "Again").status_code == 200
    refused = deployment.ran("old", "rebuild", "--verify")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-2].endswith("Upgrade this process.")
    assert refused.stderr.splitlines()[-1].startswith("try: customers --version")


async def test_an_older_projector_waits_for_a_newer_one_and_parks_nobody(
    deployment: Deployment,
) -> None:
    deployment.ran("new", "migrate")
    with (
        deployment.process("old", "relay"),
        deployment.process("old", "projector"),
        deployment.api("new") as newer,
    ):
        customer = create(newer, "early")
        assert rename(newer, customer, "Of the next").status_code == 200
        await until(
            lambda: any("Upgrade this process" in said for said in deployment.status()["problems"])
        )
        with deployment.process("new", "projector"):
            assert name_of(newer, customer) == "Of the next"
        await until(lambda: deployment.status()["lag_events"] == 0)
    assert deployment.ran("new", "projections", "failures").stdout == ""
