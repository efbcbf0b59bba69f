"""A workspace leaves: its keys end, every customer is given out and erased, live and sandbox."""

import asyncio
import json
from functools import partial
from pathlib import Path

import pytest
from httpx import AsyncClient
from msgspec.structs import replace

from events.envelope import WorkspaceId
from events.keys import Keyring
from runtime.failure import Failure
from runtime.offboarding import begin_leaving, note_exported
from runtime.operators.offboarding import erase_all
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.builders import GLOBEX, Writer
from tests.support.command import Command, Ran
from tests.support.signals import until
from tests.support.writing import create, write

SANDBOX = WorkspaceId("acme_test")


@pytest.fixture
def hurried(settings: Settings) -> Settings:
    """Nobody's write is under way in these tests for longer than that."""
    return replace(settings, write_wait=0.1)


def offboard(settings: Settings, *arguments: str, workspace: str = "acme") -> Ran:
    """Run the command."""
    return Command(settings=settings).run(
        "workspaces",
        "offboard",
        workspace,
        *arguments,
        CUSTOMERS_WRITE_WAIT=str(settings.write_wait),
    )


def keys_left(settings: Settings, *data_spaces: str) -> int:
    """How many data keys of customers there are."""
    query = "SELECT count(*) FROM keyring.data_keys WHERE workspace_id = ANY (%s)"
    with connect_as_owner(settings, "test count") as owner:
        row = owner.execute(query, [list(data_spaces)]).fetchone()
    assert row is not None
    return row[0]


async def statuses(api: AsyncClient, *keys: str) -> list[int]:
    """How a list and a write with each of these keys are answered."""
    answers: list[int] = []
    for key in keys:
        headers = {"X-Api-Key": key}
        answers.append((await api.get(CUSTOMERS, headers=headers)).status_code)
        body = {"email": "late@example.com"}
        answers.append((await api.post(CUSTOMERS, json=body, headers=headers)).status_code)
    return answers


async def are_refused(api: AsyncClient, *keys: str) -> bool:
    """Whether none of these keys leads anywhere."""
    return set(await statuses(api, *keys)) == {401}


async def test_all_of_it_ends_and_nobody_else_notices(hurried: Settings, tmp_path: Path) -> None:
    live, sandbox = make_key(hurried), make_key(hurried, test=True)
    other = make_key(hurried, "globex")
    async with running_api(hurried) as api:
        for name in ("jane", "joe"):
            await create(with_key(api, live), email=f"{name}@example.com", external_id=name)
        await create(with_key(api, sandbox), email="sandy@example.com")
        await create(with_key(api, other), email="kim@example.com")
        repeat = {"Idempotency-Key": "order-4711", "X-Api-Key": live}
        await api.post(CUSTOMERS, json={"email": "ada@example.com"}, headers=repeat)
        assert await statuses(api, live) == [200, 200]

        out = tmp_path / "acme.ndjson"
        leave = "CUSTOMERS_WRITE_WAIT=0.1 customers workspaces offboard acme --yes --json"
        ran = await Command(settings=hurried).shell(f"{leave} --export {out}")

        assert ran.code == 0, ran.err
        receipt = json.loads(ran.out)
        assert [(space["data_space"], space["customers"]) for space in receipt["erased"]] == [
            ("acme", 4),
            ("acme_test", 1),
        ]
        await until(partial(are_refused, api, live, sandbox))
        assert await statuses(api, other) == [200, 200]
    given_out = [json.loads(line)["customer"]["email"] for line in out.read_text().splitlines()]
    assert given_out == [
        "late@example.com",
        "ada@example.com",
        "joe@example.com",
        "jane@example.com",
    ]
    assert "sandy@example.com" in (tmp_path / "acme_test.ndjson").read_text()
    assert keys_left(hurried, "acme", "acme_test") == 0
    assert keys_left(hurried, "globex") == 2
    with connect_as_owner(hurried, "test receipts") as owner:
        assert owner.execute("SELECT FROM log.receipts").fetchall() == []
        assert owner.execute("SELECT FROM log.reservations").fetchall() == []
    again = await asyncio.to_thread(offboard, hurried, "--json")
    assert json.loads(again.out)["offboarded_at"] == receipt["offboarded_at"]
    listed = Command(settings=hurried).run
    shown = json.loads((await asyncio.to_thread(listed, "workspaces", "list", "--json")).out)
    assert [workspace["offboarded_at"] is not None for workspace in shown] == [True, False]
    with pytest.raises(Failure, match="gets no key any more"):
        make_key(hurried)


def test_cut_off_it_goes_on_with_the_rest(hurried: Settings, keyring: Keyring) -> None:
    make_key(hurried)
    writers = [Writer(keyring), Writer(keyring, SANDBOX), Writer(keyring, GLOBEX)]
    write(hurried, *(writer.creation() for writer in writers for _ in range(5)))

    class CutOffError(Exception):
        pass

    def cut(_: int) -> None:
        raise CutOffError

    with connect_as_owner(hurried, "test leaving") as owner:
        begin_leaving(owner, "acme")
    with pytest.raises(CutOffError):
        asyncio.run(erase_all(hurried, "acme", cut, batch=2))
    assert keys_left(hurried, "acme") == 3

    assert offboard(hurried, "--yes").code == 0

    assert keys_left(hurried, "acme", "acme_test") == 0
    assert keys_left(hurried, "globex") == 5


def test_who_was_written_after_the_end_is_erased_when_it_is_repeated(
    hurried: Settings, keyring: Keyring
) -> None:
    make_key(hurried)
    write(hurried, Writer(keyring).creation())
    assert offboard(hurried, "--yes").code == 0
    write(hurried, Writer(keyring).creation())
    assert keys_left(hurried, "acme") == 1

    assert offboard(hurried).code == 0

    assert keys_left(hurried, "acme") == 0


def test_an_export_that_would_lack_somebody_is_refused_and_a_whole_one_is_kept(
    hurried: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    make_key(hurried)
    writer = Writer(keyring)
    write(hurried, *(writer.creation() for _ in range(3)))
    out = tmp_path / "acme.ndjson"
    with connect_as_owner(hurried, "test leaving") as owner:
        begin_leaving(owner, "acme")

    class CutOffError(Exception):
        pass

    def cut(_: int) -> None:
        raise CutOffError

    with pytest.raises(CutOffError):
        asyncio.run(erase_all(hurried, "acme", cut, batch=1))
    late = offboard(hurried, "--yes", "--export", str(out))
    assert (late.code, out.exists()) == (1, False)
    assert "an export would lack them" in late.err

    with connect_as_owner(hurried, "test exported") as owner:
        note_exported(owner, "acme")
    out.write_text("whole")
    assert offboard(hurried, "--yes", "--export", str(out)).code == 0
    assert out.read_text() == "whole"


def test_it_asks_first_and_knows_its_workspaces(hurried: Settings) -> None:
    key = make_key(hurried)
    assert offboard(hurried).code == 2
    assert "--yes" in offboard(hurried).err
    unknown = offboard(hurried, "--yes", workspace="nobody")
    assert (unknown.code, "customers workspaces list" in unknown.err) == (1, True)
    assert offboard(hurried, "--yes", workspace="acme_test").code == 1
    assert key
