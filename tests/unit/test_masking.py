"""No secret is told back to whoever gave it in a way that cannot be used."""

import base64

import psycopg
import pytest
from click.testing import CliRunner

from runtime.cli.main import customers
from runtime.failure import Failure
from runtime.masking import mask
from runtime.settings import Settings, SettingsError, read_master_keys
from runtime.words import one_line
from tests.support.command import logging_kept

SECRET = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:pw@host/db", "postgresql://***host/db"),
        ("nats://a:b@c@h:1,nats://d:e@i:2", "nats://***h:1,nats://***i:2"),
        ("postgresql://h/db?user=me&password=pw&x=1", "postgresql://h/db?user=me&password=***&x=1"),
        ("host=h password=pw", "host=h password=***"),
        ("sslpassword='p w' x=1", "sslpassword=*** x=1"),
        ("key sk_live_abc, sk_test_d-_9", "key ***, ***"),
        ("https://host/path?mail=a@b", "https://host/path?mail=a@b"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_users_and_passwords_of_addresses_and_keys_are_blotted_out(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secr%zzet@127.0.0.1:1/db",
        "postgresql://me:secr et@127.0.0.1:1/db",
        "postgressql://me:secr-et@127.0.0.1:1/db",
        "host=127.0.0.1 port=1 password=secr foo",
        "postgresql://me:secret@127.0.0.1:1/db",
    ],
)
@pytest.mark.parametrize(
    "command", [("status",), ("doctor",), ("keys", "list"), ("migrate",), ("relay",)]
)
def test_a_password_is_not_told_when_the_address_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, url: str, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUSTOMERS_DATABASE_URL", url)
    monkeypatch.setenv("CUSTOMERS_NATS_URL", "")
    monkeypatch.setenv("CUSTOMERS_MASTER_KEYS", f"k:{SECRET}")
    with logging_kept():
        result = CliRunner().invoke(customers, command)
    assert result.exit_code == 1
    assert "secr" not in result.output.replace("secrets", "")
    assert SECRET not in result.output


@pytest.mark.parametrize("given", [SECRET, f"k:{SECRET},{SECRET}", f"k:{SECRET[:-4]}"])
def test_a_master_key_is_not_told_when_it_cannot_be_used(given: str) -> None:
    assert len(base64.b64decode(SECRET)) == 32
    with pytest.raises(SettingsError) as refused:
        read_master_keys(Settings(master_keys=given))
    assert SECRET[:-4] not in str(refused.value)


def test_what_an_error_says_is_masked() -> None:
    told = one_line(psycopg.OperationalError("no route to nats://me:pw@host\n at all"))
    assert told == "no route to nats://***host at all"
    assert "zz" not in one_line(psycopg.ProgrammingError('invalid token: "se%zz"'))
    assert one_line(Failure("", "x")) == "Failure"
