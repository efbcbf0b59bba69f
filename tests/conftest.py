"""Fixtures: servers once per run, a database per test, a log id per test."""

import base64
import itertools
import os
import shutil
import signal
from collections.abc import AsyncGenerator, Generator
from functools import partial
from types import FrameType

import hypothesis
import pytest

from events.keys import Keyring
from events.log import LogReader, PostgresLog
from runtime.postgres import Role, connect, make_pool
from runtime.settings import Settings, read_master_keys
from tests.support.databases import TEMPLATE, Databases
from tests.support.room import make_room
from tests.support.servers import Servers, chosen_kind, started

_numbers = itertools.count(1)

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile(
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


# Begun first, so that no worker is left alone with one of them in the end.
_LONG = (
    "test_schemathesis",
    "test_state_machine",
    "test_outages",
    "test_dev",
    "test_readme",
    "test_backup",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, the others in whatever order they are."""
    items.sort(key=lambda item: item.path.stem not in _LONG)


def pytest_configure(config: pytest.Config) -> None:
    """Have all files of the run in one place; its workers inherit that."""
    # Under nohup it is ignored, and so it would be by every process that a test hangs up on.
    signal.signal(signal.SIGHUP, _carry_on)
    if not hasattr(config, "workerinput") and (room := make_room()):
        config.add_cleanup(partial(shutil.rmtree, room, ignore_errors=True))


def _carry_on(_number: int, _frame: FrameType | None) -> None:
    """What is called is not inherited, as what is ignored would be."""


def pytest_report_header() -> str:
    """The first line of a run says which servers it uses."""
    return f"servers: {chosen_kind()}"


@pytest.fixture(scope="session")
def servers() -> Generator[Servers]:
    """Postgres and NATS of this run."""
    with started(chosen_kind()) as running:
        yield running


@pytest.fixture(scope="session")
def databases(servers: Servers) -> Generator[Databases]:
    """Migrated databases for the tests of this run."""
    with Databases(servers.database_url) as made:
        yield made


@pytest.fixture(scope="session")
def template(databases: Databases) -> str:
    """The name of a migrated database to copy."""
    return TEMPLATE


@pytest.fixture
def database_url(databases: Databases) -> Generator[str]:
    """A freshly migrated database of this test's own."""
    url = databases.take()
    yield url
    databases.drop(url)


@pytest.fixture
def nats_url(servers: Servers) -> str:
    """The NATS server of this run."""
    return servers.nats_url


@pytest.fixture
def log_id() -> int:
    """A log of this test's own, and with it JetStream streams and subjects."""
    return next(_numbers)


@pytest.fixture(scope="session")
def master_keys() -> str:
    """A CUSTOMERS_MASTER_KEYS with one key."""
    return f"test:{base64.b64encode(os.urandom(32)).decode()}"


@pytest.fixture
def settings(database_url: str, nats_url: str, log_id: int, master_keys: str) -> Settings:
    """Settings of a service on this test's own database and log."""
    return Settings(
        database_url=database_url,
        nats_url=nats_url,
        log_id=log_id,
        master_keys=master_keys,
        pool_size=4,
        port=0,
    )


@pytest.fixture
def keyring(settings: Settings) -> Keyring:
    """The keyring of this test's service."""
    return Keyring(read_master_keys(settings))


@pytest.fixture
async def postgres_log(settings: Settings) -> AsyncGenerator[PostgresLog]:
    """The log as an API process has it."""
    async with make_pool(settings, Role.API, "test api", size=settings.pool_size) as pool:
        yield PostgresLog(pool, settings.log_id)


@pytest.fixture
async def log_reader(settings: Settings) -> AsyncGenerator[LogReader]:
    """The log as a relay has it."""
    async with await connect(settings, Role.RELAY, "test relay") as connection:
        yield LogReader(connection, settings.log_id)
