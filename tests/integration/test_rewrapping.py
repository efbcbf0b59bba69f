"""Master keys are changed by wrapping every key again, while the service runs."""

import asyncio
import base64
import os
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from psycopg.errors import InsufficientPrivilege

from events.envelope import Position
from events.errors import KeyUnavailable
from events.keys import Keyring
from events.log import LogReader
from events.reading import open_stored
from events.rewrapping import Rewrapped, rewrap
from runtime.doctor import examine
from runtime.ids import new_id
from runtime.postgres import Role, connect, connect_as_owner
from runtime.settings import Settings, read_master_keys
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.builders import Writer
from tests.support.command import Command
from tests.support.signals import until
from tests.support.writing import create, write

NEWER = f"newer:{base64.b64encode(os.urandom(32)).decode()}"


@pytest.fixture
def writer(keyring: Keyring) -> Writer:
    """Who writes by the old master key."""
    return Writer(keyring)


@pytest.fixture
def both(settings: Settings) -> Settings:
    """The settings with a new master key in front of the old one."""
    return replace(settings, master_keys=f"{NEWER},{settings.master_keys}")


@pytest.fixture
def only_new(settings: Settings) -> Settings:
    """The settings when the old master key is gone."""
    return replace(settings, master_keys=NEWER)


def payloads(settings: Settings) -> list[bytes | None]:
    """The payload of every event, with the master keys of these settings."""

    async def read() -> list[bytes | None]:
        keyring = Keyring(read_master_keys(settings))
        async with await connect(settings, Role.RELAY, "test read") as connection:
            page = await LogReader(connection, settings.log_id).read_after(Position(0), 100)
        return [open_stored(keyring, keyed) for keyed in page]

    return asyncio.run(read())


def test_after_it_the_old_master_key_opens_nothing_and_nobody_needs_it(
    settings: Settings, both: Settings, only_new: Settings, writer: Writer
) -> None:
    write(settings, *(writer.creation() for _ in range(5)))
    before = payloads(settings)

    ran = Command(settings=both).run("master-keys", "rewrap", "--batch", "2")

    assert ran.code == 0, ran.err
    assert "wrapped by newer: 5 data keys" in ran.out
    assert "test wraps nothing and may leave CUSTOMERS_MASTER_KEYS" in ran.out
    assert payloads(only_new) == before
    with pytest.raises(KeyUnavailable):
        payloads(settings)


async def test_writes_and_repeats_go_on_with_the_new_key_alone(
    settings: Settings, both: Settings, only_new: Settings
) -> None:
    key = make_key(settings)
    repeat = {"Idempotency-Key": "order-4711"}
    body = {"email": "jane@example.com"}
    async with running_api(settings) as client:
        first = await with_key(client, key).post(CUSTOMERS, json=body, headers=repeat)
        customer = f"{CUSTOMERS}/{first.json()['data']['id']}"
    ran = await asyncio.to_thread(Command(settings=both).run, "master-keys", "rewrap")
    assert ran.code == 0, ran.err
    assert "1 secrets" in ran.out
    async with running_api(only_new) as client:
        again = await with_key(client, key).post(CUSTOMERS, json=body, headers=repeat)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.json()["data"] == first.json()["data"]
        assert (await client.patch(customer, json={"lastName": "Doe"})).status_code == 200
        await create(client)


def test_cut_off_it_goes_on_with_the_rest_and_a_destroyed_key_stays_destroyed(
    settings: Settings, both: Settings, only_new: Settings, writer: Writer
) -> None:
    write(settings, *(writer.creation() for _ in range(6)))

    class CutOffError(Exception):
        pass

    def cut(_: int) -> None:
        with connect_as_owner(settings, "test erasure") as owner:
            owner.execute(
                "DELETE FROM keyring.data_keys WHERE data_key_id ="
                " (SELECT data_key_id FROM keyring.data_keys ORDER BY data_key_id DESC LIMIT 1)"
            )
        raise CutOffError

    async def run(report: Callable[[int], None]) -> Rewrapped:
        keyring = Keyring(read_master_keys(both))
        async with await connect(both, None, "test rewrap") as connection:
            return await rewrap(connection, keyring, batch=2, report=report)

    with pytest.raises(CutOffError):
        asyncio.run(run(cut))
    rest = asyncio.run(run(lambda _: None))

    assert rest == Rewrapped(keys=3, secrets=0, closed={})
    with connect_as_owner(settings, "test count") as owner:
        counts = owner.execute("SELECT master_key_id, keys FROM keyring.master_keys").fetchall()
    assert counts == [("newer", 5)]


def test_a_key_removed_too_early_is_named_with_how_much_it_protects(
    settings: Settings, only_new: Settings, writer: Writer
) -> None:
    write(settings, *(writer.creation() for _ in range(3)))
    command = Command(settings=only_new)

    status = command.run("master-keys", "status")
    rewrapped = command.run("master-keys", "rewrap")
    checks = {check.name: check for check in examine(only_new, None)}

    assert status.code == rewrapped.code == 1
    assert "3 keys are wrapped by test, which is not in" in status.out
    assert checks["master key test"].is_fine is False
    assert payloads(settings) is not None


async def test_nothing_is_wrapped_by_a_key_that_a_running_process_does_not_know(
    settings: Settings, both: Settings
) -> None:
    command = Command(settings=both)

    async def is_refused() -> bool:
        ran = await asyncio.to_thread(command.run, "master-keys", "rewrap")
        return ran.code == 1 and "newer is not known to api" in ran.err

    async with running_api(settings):
        # As soon as it has said what it knows.
        await until(is_refused)


@pytest.mark.parametrize("role", Role)
async def test_no_process_may_wrap_a_key_again(settings: Settings, role: Role) -> None:
    async with await connect(settings, role, "test rights") as connection:
        with pytest.raises(InsufficientPrivilege):
            await connection.execute(
                "SELECT keyring.rewrap_data_keys(%s::uuid[], %s::bytea[], 'x', %s::bytea[])",
                [[new_id()], [b""], [b""]],
            )
        with pytest.raises(InsufficientPrivilege):
            await connection.execute("UPDATE keyring.data_keys SET wrapped = ''")
