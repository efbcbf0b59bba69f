"""The log of accesses: kept for ever, written through one function, shown to the operator."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Final, get_args

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from runtime.accesses import Access, Action, list_accesses, record_access
from runtime.api_keys import NewKey, issue_key
from runtime.clock import format_time
from runtime.ids import new_id
from runtime.postgres import Role, connect, connect_as_owner
from runtime.settings import Settings
from tests.support.command import Command

JANE: Final = new_id()


def record(settings: Settings, *accesses: Access, role: Role = Role.API) -> None:
    """Record accesses as the role of a process."""

    async def do() -> None:
        async with await connect(settings, role, "test") as connection:
            for access in accesses:
                await record_access(connection, access)

    asyncio.run(do())


def recorded(settings: Settings) -> NewKey:
    """Four accesses: two by a key, two by operators; the key."""
    with connect_as_owner(settings, "test keys") as owner:
        key = issue_key(owner, workspace="acme", name="audit desk")
    by_key = Access(action="history", workspace_id="acme", customer_id=JANE, api_key_id=key.key_id)
    record(
        settings,
        by_key,
        Access(action="as_of", workspace_id="globex", api_key_id=key.key_id),
    )
    record(
        settings,
        Access(action="erasure", workspace_id="acme_test", customer_id=JANE),
        Access(action="replay", workspace_id=None),
        role=Role.RELAY,
    )
    return key


def test_nobody_changes_or_removes_an_access_not_even_the_owner(settings: Settings) -> None:
    record(settings, Access(action="history", workspace_id="acme"))
    changes = (
        "UPDATE control.accesses SET action = 'x'",
        "DELETE FROM control.accesses",
        "TRUNCATE control.accesses",
        "SET session_replication_role = replica; DELETE FROM control.accesses",
    )
    with connect_as_owner(settings, "test owner") as owner:
        for statement in changes:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                owner.execute(statement.encode())
        assert len(list(list_accesses(owner))) == 1


def test_processes_only_add_accesses_and_only_those_that_give_something_out(
    settings: Settings,
) -> None:
    async def refuses(role: Role, statement: str) -> None:
        async with await connect(settings, role, "test") as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement.encode())

    for role in Role:
        for statement in (
            "SELECT FROM control.accesses",
            "INSERT INTO control.accesses (action) VALUES ('history')",
            "DELETE FROM control.accesses",
            "ALTER TABLE control.accesses DISABLE TRIGGER accesses_refuse_change",
        ):
            asyncio.run(refuses(role, statement))
    record_as_projector = "SELECT control.record_access('acme', 'history', NULL, NULL)"
    asyncio.run(refuses(Role.PROJECTOR, record_as_projector))


def test_an_access_holds_no_word_of_a_client(settings: Settings) -> None:
    for action in get_args(Action):
        record(settings, Access(action=action, workspace_id="acme"))
    for action, workspace in (("Jane Doe", "acme"), ("history", "jane@example.com"), ("", "acme")):
        with pytest.raises(psycopg.errors.CheckViolation):
            record(settings, Access(action=action, workspace_id=workspace))  # pyright: ignore[reportArgumentType] - the fault that is tried


def test_the_operator_sees_who_read_what_and_when(settings: Settings) -> None:
    key, command = recorded(settings), Command(settings=settings)

    shown = command.run("accesses")

    assert shown.code == 0
    assert [line[len("2026-03-03T18:00:00Z  ") :] for line in shown.lines[::2]] == [
        f"history  acme  {JANE}",
        "as_of    globex  all customers",
        f"erasure  acme_test  {JANE}",
        "replay   all workspaces  all customers",
    ]
    login = conninfo_to_dict(settings.database_url)["user"]
    operator = f"    an operator, logged in to the database as {login}"
    by_key = f"    audit desk · {key.key_id}"
    assert shown.lines[1::2] == [by_key, by_key, operator, operator]
    assert all(len(line) <= 80 for line in shown.lines)


def test_accesses_are_found_by_workspace_customer_and_time_and_as_json(settings: Settings) -> None:
    key, command = recorded(settings), Command(settings=settings)
    before = format_time(datetime.now(UTC) - timedelta(hours=1))
    after = format_time(datetime.now(UTC) + timedelta(hours=1))
    for options, expected in (
        ([], ["history", "as_of", "erasure", "replay"]),
        (["--workspace", "acme"], ["history", "replay"]),
        (["--workspace", "acme_test"], ["erasure", "replay"]),
        (["--customer", str(JANE)], ["history", "erasure"]),
        (["--customer", str(JANE), "--workspace", "acme"], ["history"]),
        (["--since", before], ["history", "as_of", "erasure", "replay"]),
        (["--since", after], []),
    ):
        told = [json.loads(line) for line in command.run("accesses", "--json", *options).lines]
        assert [access["action"] for access in told] == expected, options
    first = json.loads(command.run("accesses", "--json").lines[0])
    assert list(first) == [
        *("accessed_at", "action", "workspace_id", "customer_id", "api_key_id"),
        *("api_key_name", "login"),
    ]
    assert (first["workspace_id"], first["customer_id"]) == ("acme", str(JANE))
    assert first["api_key_id"] == str(key.key_id)
    none = command.run("accesses", "--since", after)
    assert (none.code, none.out) == (0, "")
    assert none.err == "Nothing of this was read or erased.\n"


def test_a_wrong_option_is_told_with_what_to_write_instead(settings: Settings) -> None:
    command = Command(settings=settings)
    for options, code, words in (
        (["--customer", "4711"], 1, "'4711' is no id of a customer."),
        (["--workspace", "No Such"], 1, "No Such"),
        (["--since", "yesterday"], 2, "no moment like"),
    ):
        ran = command.run("accesses", *options)
        assert (ran.code, words in ran.err) == (code, True), ran.err


def test_a_key_that_is_not_kept_any_more_leaves_its_accesses(settings: Settings) -> None:
    key = recorded(settings)
    with connect_as_owner(settings, "test keys") as owner:
        owner.execute("DELETE FROM control.api_keys WHERE key_id = %s", [key.key_id])
    shown = Command(settings=settings).run("accesses", "--workspace", "acme")
    assert shown.lines[1] == f"    a key that is not kept any more · {key.key_id}"


def test_a_reader_that_has_enough_is_no_error(settings: Settings) -> None:
    with connect_as_owner(settings, "test accesses") as owner:
        # Far more than a pipe holds.
        owner.execute(
            "INSERT INTO control.accesses (action) SELECT 'replay' FROM generate_series(1, 3000)"
        )

    ran = asyncio.run(Command(settings=settings).shell("customers accesses | head -n 1"))

    assert (ran.code, ran.err, len(ran.lines)) == (0, "", 1)
