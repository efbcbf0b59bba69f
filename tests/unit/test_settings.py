"""Settings come from the environment, and a fault names its variable."""

import base64
from pathlib import Path

import pytest

from runtime.settings import Settings, SettingsError, read_master_keys, read_settings

KEY = base64.b64encode(bytes(range(32))).decode()


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings({}) == Settings()


def test_every_setting_can_be_given_by_its_variable() -> None:
    settings = read_settings(
        {
            "CUSTOMERS_DATABASE_URL": "postgresql://somewhere/db",
            "CUSTOMERS_PORT": "9000",
            "CUSTOMERS_READ_WAIT": "0.5",
            "CUSTOMERS_PREPARED_STATEMENTS": "false",
            "CUSTOMERS_STREAM_REPLICAS": "3",
            "CUSTOMERS_LOG_LEVEL": "debug",
        }
    )

    assert settings == Settings(
        database_url="postgresql://somewhere/db",
        port=9000,
        read_wait=0.5,
        prepared_statements=False,
        stream_replicas=3,
        log_level="debug",
    )


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read_settings({"CUSTOMERS_PORT": ""}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CUSTOMERS_PORT", "http"),
        ("CUSTOMERS_PORT", "65536"),
        ("CUSTOMERS_PORT", "-1"),
        ("CUSTOMERS_LOG_ID", "0"),
        ("CUSTOMERS_POOL_SIZE", "1.5"),
        ("CUSTOMERS_PREPARED_STATEMENTS", "maybe"),
        ("CUSTOMERS_STREAM_REPLICAS", "2"),
        ("CUSTOMERS_READ_WAIT", "nan"),
        ("CUSTOMERS_RATE_LIMIT", "-1"),
        ("CUSTOMERS_LOG_LEVEL", "loud"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_naming_the_variable(
    variable: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=variable):
        read_settings({variable: value})


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://secret/db\n")

    settings = read_settings({"CUSTOMERS_DATABASE_URL_FILE": str(file)})

    assert settings.database_url == "postgresql://secret/db"


def test_the_variable_itself_wins_over_its_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://file/db")

    settings = read_settings(
        {
            "CUSTOMERS_DATABASE_URL": "postgresql://variable/db",
            "CUSTOMERS_DATABASE_URL_FILE": str(file),
        }
    )

    assert settings.database_url == "postgresql://variable/db"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"CUSTOMERS_MASTER_KEYS_FILE=.*absent"):
        read_settings({"CUSTOMERS_MASTER_KEYS_FILE": str(tmp_path / "absent")})


def test_the_first_master_key_is_the_current_one_and_all_are_kept() -> None:
    other = base64.b64encode(bytes(32)).decode()

    keys = read_master_keys(Settings(master_keys=f"new:{KEY}, old:{other}"))

    assert keys.current == "new"
    assert keys.by_id == {"new": bytes(range(32)), "old": bytes(32)}


@pytest.mark.parametrize("text", ["", " , "])
def test_without_a_master_key_the_way_to_make_one_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="customers keys master"):
        read_master_keys(Settings(master_keys=text))


@pytest.mark.parametrize(
    "text",
    ["nonsense", f":{KEY}", "short:AAAA", "bad:***", f"good:{KEY},bad"],
    ids=["no colon", "no id", "too short", "not base64", "second bad"],
)
def test_a_malformed_master_key_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_master_keys(Settings(master_keys=text))

    assert KEY not in str(refused.value)
