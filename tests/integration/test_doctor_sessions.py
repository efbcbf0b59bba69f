"""Transactions that others have to wait for, as `customers doctor` tells of them."""

import psycopg

from runtime.sessions import ask_transactions
from runtime.settings import Settings


def test_the_session_that_holds_an_append_open_is_named(settings: Settings) -> None:
    with psycopg.connect(settings.database_url, application_name="psql") as somebody:
        somebody.execute("SELECT pg_advisory_xact_lock(730541, %s)", [settings.log_id])
        [found] = ask_transactions(settings, append_seconds=0)
        assert found.words.startswith(f"session {somebody.info.backend_pid} (psql) has been in one")
        assert found.words.endswith("with the lock of the log: no write goes on")
    assert ask_transactions(settings, append_seconds=0) == []


def test_a_transaction_that_was_left_open_is_named(settings: Settings) -> None:
    with psycopg.connect(settings.database_url, application_name="report") as somebody:
        somebody.execute("SELECT 1")
        [found] = ask_transactions(settings, open_seconds=0)
        assert not found.holds_log
        assert "(report)" in found.words
        assert "nothing that was deleted since can be cleaned up" in found.words
    assert ask_transactions(settings, open_seconds=0) == []


def test_a_transaction_of_the_moment_is_no_trouble(settings: Settings) -> None:
    with psycopg.connect(settings.database_url) as somebody:
        somebody.execute("SELECT pg_advisory_xact_lock(730541, %s)", [settings.log_id])
        assert ask_transactions(settings) == []
