"""Workspaces and API keys on a real database, by calls and by the command line."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner, Result
from nats.aio.client import Client
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from runtime import api_keys, key_ping
from runtime.cli.keys import parse_expiry, parse_span
from runtime.cli.main import customers
from runtime.failure import Failure
from runtime.ids import new_id
from runtime.postgres import Role, connect
from runtime.settings import Settings, read_master_keys
from tests.support.servers import Servers

NOBODY = new_id()


@pytest.fixture
async def api(settings: Settings) -> AsyncGenerator[AsyncConnection[TupleRow]]:
    """The database as an API process has it."""
    async with await connect(settings, Role.API, "test api") as connection:
        yield connection


async def principal(api: AsyncConnection[TupleRow], key: str) -> api_keys.Principal | None:
    key_hash = api_keys.hash_key(key)
    return None if key_hash is None else await api_keys.lookup(api, key_hash)


async def test_a_key_opens_the_data_space_of_its_kind(
    owner: Connection[TupleRow], api: AsyncConnection[TupleRow]
) -> None:
    live = api_keys.create_key(owner, workspace="acme")
    test = api_keys.create_key(owner, workspace="acme", test=True)
    assert live.startswith("sk_live_")
    assert test.startswith("sk_test_")
    for key, workspace in ((live, "acme"), (test, "acme_test")):
        found = await principal(api, key)
        assert found is not None
        assert found.workspace_id == workspace


async def test_a_key_has_the_scopes_it_was_given_and_none_means_all(
    owner: Connection[TupleRow], api: AsyncConnection[TupleRow]
) -> None:
    reader = await principal(
        api, api_keys.create_key(owner, workspace="acme", scopes=["customers:read"])
    )
    almighty = await principal(api, api_keys.create_key(owner, workspace="acme"))
    assert reader is not None
    assert almighty is not None
    assert reader.may("customers:read")
    assert not reader.may("customers:write")
    assert almighty.may("customers:erase")


async def test_no_key_is_found_that_is_unknown_revoked_or_expired(
    owner: Connection[TupleRow], api: AsyncConnection[TupleRow]
) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired = api_keys.create_key(owner, workspace="acme", expires_at=past)
    revoked = api_keys.issue_key(owner, workspace="acme")
    assert await principal(api, revoked.key) is not None
    assert api_keys.revoke_key(owner, revoked.key_id)
    assert not api_keys.revoke_key(owner, revoked.key_id)
    for key in (expired, revoked.key, revoked.key[:-1] + "-", "sk_live_" + "x" * 43):
        assert await principal(api, key) is None
    states = {key.state for key in api_keys.list_keys(owner)}
    assert states == {"expired", "revoked"}


def test_the_database_holds_no_key_that_could_be_used(owner: Connection[TupleRow]) -> None:
    key = api_keys.create_key(owner, workspace="acme", name="export")
    row = owner.execute("SELECT k::text FROM control.api_keys k").fetchone()
    assert row is not None
    stored = str(row[0])
    assert key not in stored
    assert key[12:-4] not in stored
    assert "export" in stored
    (listed,) = api_keys.list_keys(owner)
    assert listed.hint == f"{key[:12]}…{key[-4:]}"


@pytest.mark.parametrize(
    "workspace",
    ["acme_test", "_test", "", "Acme", "a" * 49, "a b", "a_b", "acme\n", "é", "a.b", "*"],
)
def test_what_cannot_name_a_workspace_is_refused(
    owner: Connection[TupleRow], workspace: str
) -> None:
    with pytest.raises(Failure):
        api_keys.create_key(owner, workspace=workspace)
    assert api_keys.list_workspaces(owner) == []
    with pytest.raises(psycopg.errors.CheckViolation):
        owner.execute("INSERT INTO control.workspaces VALUES (%s)", [workspace])


def test_a_workspace_is_made_once_and_counts_its_valid_keys(owner: Connection[TupleRow]) -> None:
    for _ in range(2):
        api_keys.create_key(owner, workspace="acme")
    ended = api_keys.issue_key(owner, workspace="acme", test=True)
    api_keys.revoke_key(owner, ended.key_id)
    api_keys.create_key(owner, workspace="z" * 48)
    found = [(each.workspace_id, each.valid_keys) for each in api_keys.list_workspaces(owner)]
    assert found == [("acme", 2), ("z" * 48, 1)]
    assert len(api_keys.list_keys(owner, "acme")) == 3


async def test_the_processes_reach_keys_by_hash_and_nothing_else(settings: Settings) -> None:
    for role in Role:
        async with await connect(settings, role, "test") as connection:
            for table in ("workspaces", "api_keys", "processes"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(f"SELECT FROM control.{table}".encode())
            if role is not Role.API:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await api_keys.lookup(connection, b"x" * 32)


async def test_both_keys_of_a_rotation_are_valid_until_the_overlap_ends(
    owner: Connection[TupleRow], api: AsyncConnection[TupleRow]
) -> None:
    old = api_keys.issue_key(
        owner, workspace="acme", test=True, scopes=["customers:read"], name="export"
    )
    new = api_keys.rotate_key(owner, old.key_id, timedelta(hours=24))
    before, after = await principal(api, old.key), await principal(api, new.key)
    assert before is not None
    assert after is not None
    assert (before.scopes, before.workspace_id, before.name) == (
        after.scopes,
        after.workspace_id,
        after.name,
    )
    assert before.expires_at is not None
    assert timedelta(hours=23) < before.expires_at - datetime.now(UTC) <= timedelta(hours=24)
    assert after.expires_at is None
    api_keys.rotate_key(owner, new.key_id, timedelta(0))
    assert await principal(api, new.key) is None


def test_a_rotated_key_lives_as_long_as_the_old_one_was_made_for(
    owner: Connection[TupleRow],
) -> None:
    end = datetime.now(UTC) + timedelta(hours=2)
    old = api_keys.issue_key(owner, workspace="acme", expires_at=end)
    new = api_keys.rotate_key(owner, old.key_id, timedelta(days=30))
    assert new.expires_at is not None
    assert abs(new.expires_at - end) < timedelta(minutes=1)
    listed = {key.key_id: key for key in api_keys.list_keys(owner)}
    assert listed[old.key_id].expires_at == end
    assert listed[new.key_id].rotated_from == old.key_id


def test_what_has_ended_or_was_rotated_or_never_was_cannot_be_changed(
    owner: Connection[TupleRow],
) -> None:
    ended = api_keys.issue_key(owner, workspace="acme")
    api_keys.revoke_key(owner, ended.key_id)
    rotated = api_keys.issue_key(owner, workspace="acme")
    api_keys.rotate_key(owner, rotated.key_id, timedelta(hours=1))
    for key_id in (ended.key_id, rotated.key_id, NOBODY):
        with pytest.raises(Failure):
            api_keys.rotate_key(owner, key_id, timedelta(hours=1))
    for key_id in (ended.key_id, NOBODY):
        with pytest.raises(Failure):
            api_keys.change_scopes(owner, key_id, add=["customers:read"])
    with pytest.raises(Failure):
        api_keys.revoke_key(owner, NOBODY)


def test_spans_and_ends_are_read_as_people_write_them() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert parse_span("90m") == timedelta(minutes=90)
    assert parse_expiry("90d", now) == now + timedelta(days=90)
    assert parse_expiry("2w", now) == now + timedelta(days=14)
    assert parse_expiry("2027-01-01", now) == datetime(2027, 1, 1, tzinfo=UTC)
    assert parse_expiry("2027-01-01T00:00:00+02:00", now) == datetime(2026, 12, 31, 22, tzinfo=UTC)
    for nonsense in ("", "0d", "d", "-1d", "1y", "2026-01-01", "2027-13-01", "999999w", "tomorrow"):
        with pytest.raises(Failure):
            parse_expiry(nonsense, now)


Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line on this test's database."""
    monkeypatch.setenv("CUSTOMERS_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CUSTOMERS_NATS_URL", "")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(customers, arguments)

    return call


def refused(result: Result) -> str:
    """What a failed command says."""
    assert result.exit_code == 1
    assert result.stdout == ""
    error, remedy = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert remedy.startswith("try: ")
    return result.stderr


def test_the_command_line_prints_a_new_key_alone_on_stdout(
    run: Run, owner: Connection[TupleRow]
) -> None:
    made = run("keys", "create", "--workspace", "acme", "--scope", "customers:read", "--test")
    assert made.exit_code == 0
    (key,) = made.stdout.splitlines()
    assert key.startswith("sk_test_")
    assert key not in made.stderr
    (listed,) = json.loads(run("keys", "list", "--json", "--workspace", "acme").stdout)
    assert listed["scopes"] == ["customers:read"]
    assert listed["test"] is True
    assert listed["key_id"] in made.stderr
    assert json.loads(run("workspaces", "list", "--json").stdout)[0]["workspace_id"] == "acme"
    assert "acme" in run("workspaces", "list").stdout
    assert listed["hint"][:12] in run("keys", "list").stdout


def test_the_command_line_takes_away_the_last_scope_only_when_told_so(
    run: Run, owner: Connection[TupleRow]
) -> None:
    new = api_keys.issue_key(owner, workspace="acme", scopes=["customers:read"])
    scopes = ("keys", "scopes", str(new.key_id))
    assert run(*scopes).stdout == "customers:read\n"
    assert "--full-access" in refused(run(*scopes, "--remove", "customers:read"))
    assert run(*scopes).stdout == "customers:read\n"
    assert run(*scopes, "--add", "customers:write").stdout == "customers:read customers:write\n"
    assert run(*scopes, "--remove", "customers:read").stdout == "customers:write\n"
    assert run(*scopes, "--set", "customers:erase").stdout == "customers:erase\n"
    assert "customers:read, customers:write" in refused(run(*scopes, "--add", "customers:delete"))
    refused(run(*scopes, "--set", ""))
    refused(run(*scopes, "--full-access", "--set", "customers:read"))
    assert run(*scopes, "--full-access").stdout == "full access\n"
    refused(run(*scopes, "--add", "customers:read"))
    refused(run(*scopes, "--remove", "customers:read"))
    assert run(*scopes, "--set", "customers:read").stdout == "customers:read\n"


def test_the_command_line_rotates_and_revokes(run: Run, owner: Connection[TupleRow]) -> None:
    old = api_keys.issue_key(owner, workspace="acme")
    rotated = run("keys", "rotate", str(old.key_id), "--overlap", "1h")
    assert rotated.stdout.startswith("sk_live_")
    assert "1h" in rotated.stderr
    revoked = run("keys", "revoke", str(old.key_id))
    assert revoked.stdout == f"revoked {old.key_id}\n"
    assert "before" in run("keys", "revoke", str(old.key_id)).stdout


def test_a_new_master_key_is_one_the_settings_take(run: Run) -> None:
    entry = run("keys", "master").stdout.strip()
    assert len(read_master_keys(Settings(master_keys=entry)).by_id) == 1
    assert entry != run("keys", "master").stdout.strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--workspace", "acme_test"),
        ("create", "--workspace", "ACME"),
        ("create", "--workspace", "acme", "--scope", "everything"),
        ("create", "--workspace", "acme", "--scope", ""),
        ("create", "--workspace", "acme", "--expires", "yesterday"),
        ("create", "--workspace", "acme", "--expires", "2020-01-01"),
        ("create", "--workspace", "acme", "--name", "a\nb"),
        ("create", "--workspace", "acme", "--name", "n" * 101),
        ("list", "--workspace", "acme_test"),
        ("rotate", "not-an-id"),
        ("rotate", str(NOBODY)),
        ("rotate", str(NOBODY), "--overlap", "soon"),
        ("revoke", str(NOBODY)),
        ("scopes", str(NOBODY)),
    ],
)
def test_a_command_that_cannot_be_done_says_why_and_what_instead(
    run: Run, arguments: tuple[str, ...]
) -> None:
    refused(run("keys", *arguments))
    assert json.loads(run("keys", "list", "--json").stdout) == []


def test_a_database_that_is_away_or_empty_is_told_in_two_lines(
    run: Run, monkeypatch: pytest.MonkeyPatch, servers: Servers
) -> None:
    monkeypatch.setenv("CUSTOMERS_DATABASE_URL", servers.database_url)
    assert "customers migrate" in refused(run("keys", "list"))
    monkeypatch.setenv("CUSTOMERS_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/x")
    assert "secret" not in refused(run("keys", "list"))


async def test_a_change_of_keys_is_told_to_the_processes(settings: Settings) -> None:
    client = Client()
    await client.connect(settings.nats_url.split(","))
    heard = await client.subscribe(key_ping.key_change_subject(settings.log_id))
    await client.flush()
    await asyncio.to_thread(key_ping.ping_key_change, settings)
    assert (await heard.next_msg(timeout=10)).data == b""
    await client.close()


def test_nats_that_is_away_fails_no_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, owner: Connection[TupleRow]
) -> None:
    for url in ("nats://127.0.0.1:1", "nonsense", "nats://"):
        monkeypatch.setenv("CUSTOMERS_NATS_URL", url)
        made = run("keys", "create", "--workspace", "acme")
        assert made.exit_code == 0
        assert len(made.stdout.splitlines()) == 1


def test_a_key_id_is_a_uuid_of_version_7(owner: Connection[TupleRow]) -> None:
    assert UUID(str(api_keys.issue_key(owner, workspace="acme").key_id)).version == 7
