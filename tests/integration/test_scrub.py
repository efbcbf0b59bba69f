"""The scrub: what is cut off goes on, nobody waits for long, and one that is overdue is told."""

from datetime import timedelta

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from runtime.failure import Failure
from runtime.operators.scrub import run_scrub
from runtime.postgres import connect_as_owner
from runtime.scrub.record import begin_scrub, note_step, read_scrub_state
from runtime.scrub.tables import TABLES, rewrite_table
from runtime.settings import Settings
from tests.support.command import Command
from tests.support.signals import until

EVERY = 7


def make_due(owner: Connection[TupleRow]) -> None:
    """Let the database be as old as if it should have been scrubbed long ago."""
    owner.execute("UPDATE public.customers_migrations SET applied_at = now() - interval '30 days'")


async def test_on_schedule_it_runs_when_due_and_goes_on_behind_what_is_done(
    settings: Settings, owner: Connection[TupleRow]
) -> None:
    make_due(owner)
    begun = begin_scrub(owner)
    for table in TABLES:
        note_step(owner, begun, ".".join(table), [])

    async with Command(settings=settings).running("scrub", "--every", str(EVERY)) as running:
        await until(lambda: read_scrub_state(owner, EVERY).last is not None)
        ran = await running.stop()

    assert ran.code == 0, ran.err
    assert "goes on behind: keyring.data_keys" in ran.err
    assert "keyring.data_keys: written anew" not in ran.err
    assert "read model: built anew" in ran.err
    state = read_scrub_state(owner, EVERY)
    assert state.last is not None
    assert state.last.scrub_id == begun.scrub_id
    assert state.due_at == begun.started_at + timedelta(days=EVERY)
    assert not state.is_due
    assert begin_scrub(owner).scrub_id != begun.scrub_id


def test_one_that_is_overdue_is_told_and_one_at_a_time_is_at_work(
    settings: Settings, owner: Connection[TupleRow]
) -> None:
    command = Command(settings=settings)
    assert "scrub was due" not in command.run("status").out
    make_due(owner)
    assert "scrub was due" in command.run("status").out
    assert "✗ scrub: none so far" in command.run("doctor").out

    owner.execute("SELECT pg_advisory_lock(7305410121)")
    with pytest.raises(Failure, match="Another scrub is at work"):
        run_scrub(settings, 4.0, [].append)


def test_a_table_that_is_in_use_or_takes_too_long_is_left_as_it_is(
    settings: Settings, owner: Connection[TupleRow]
) -> None:
    def file_of_it() -> object:
        return owner.execute("SELECT pg_relation_filepath('keyring.data_keys')").fetchone()

    before = file_of_it()
    with connect_as_owner(settings, "test reader") as reader, reader.transaction():
        reader.execute("SELECT FROM keyring.data_keys")
        assert rewrite_table(owner, TABLES[0], lock_seconds=4.0, attempts=1) is None
    assert rewrite_table(owner, TABLES[0], lock_seconds=0.001) is None
    assert file_of_it() == before

    done = rewrite_table(owner, TABLES[0], lock_seconds=4.0)

    assert done is not None
    assert file_of_it() != before
    # Nothing of what was set for it is left on the connection.
    assert owner.execute("SHOW statement_timeout").fetchone() == ("0",)


async def test_no_process_sees_or_writes_what_was_scrubbed_when(settings: Settings) -> None:
    url = settings.database_url
    for role in ("customers_api", "customers_relay", "customers_projector"):
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(f"SET ROLE {role}".encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute("SELECT FROM log.scrubs")
