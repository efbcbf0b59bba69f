"""Fixtures: an API of one workspace, a second process beside it, a writer and a reader of its log.

A conftest imports those that its tests share.
"""

from collections.abc import AsyncGenerator, Generator

import httpx
import pytest
from msgspec.structs import replace
from psycopg import Connection
from psycopg.rows import TupleRow

from events.keys import Keyring
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import make_key, running_api, with_key
from tests.support.builders import Writer
from tests.support.command import Command
from tests.support.customers import Customers, making_customers
from tests.support.querying import reading


@pytest.fixture
def command(settings: Settings) -> Command:
    """The command line of this test's log."""
    return Command(settings=settings)


@pytest.fixture
async def api(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API that takes writes of one workspace."""
    async with running_api(settings, "command") as client:
        yield with_key(client, make_key(settings))


@pytest.fixture
async def both(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API of both sides, for one workspace, whose reads wait for no projector."""
    async with running_api(replace(settings, read_wait=0)) as client:
        yield with_key(client, make_key(settings))


@pytest.fixture
async def other_process(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """A second API on the same log, as another process would be."""
    async with running_api(settings, "command") as client:
        yield with_key(client, make_key(settings))


@pytest.fixture
async def customers(settings: Settings, keyring: Keyring) -> AsyncGenerator[Customers]:
    """Makes customers that reads show at once."""
    async with making_customers(settings, keyring) as customers_:
        yield customers_


@pytest.fixture
async def reader(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the query side, with a key of acme and below the base path."""
    async with reading(settings) as reading_:
        yield reading_.client


@pytest.fixture
def owner(settings: Settings) -> Generator[Connection[TupleRow]]:
    """A connection that may look at and break everything, as the command line has it."""
    with connect_as_owner(settings, "test owner") as connection:
        yield connection


@pytest.fixture
def writer(keyring: Keyring) -> Writer:
    """A writer of one workspace."""
    return Writer(keyring)
