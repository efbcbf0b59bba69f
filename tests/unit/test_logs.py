"""A log line holds no value of a customer and no secret, whatever is given to it."""

import json
import logging
from collections.abc import Generator
from typing import Literal

import psycopg
import pytest
import structlog

from runtime.logs import configure_logging, harmless_message
from runtime.settings import Settings


@pytest.fixture
def configured() -> Generator[None]:
    """Leaves logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """What was logged as JSON."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


@pytest.mark.usefixtures("configured")
def test_an_event_is_one_json_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"), "relay")

    structlog.get_logger().info("relay.started", position=3)

    (line,) = lines(capsys)
    assert list(line)[:4] == ["timestamp", "level", "process", "event"]
    assert (line["level"], line["process"], line["event"]) == ("info", "relay", "relay.started")
    assert line["position"] == 3


@pytest.mark.usefixtures("configured")
def test_text_is_one_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="text"), "api")

    structlog.get_logger().warning("api.slow", reason="two words\nand a line", names=["a", "b"])

    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.startswith("api       │ ")
    assert r'warning api.slow reason="two words\nand a line" names="[\"a\",\"b\"]"' in text


@pytest.mark.usefixtures("configured")
def test_keys_and_passwords_are_masked_wherever_they_stand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(Settings(log_format="json"), "api")

    structlog.get_logger().info(
        "api.started", key="it is sk_live_abc-DEF_123.", url="postgresql://me:pw@host:5432/db"
    )

    (line,) = lines(capsys)
    assert line["key"] == "it is ***."
    assert line["url"] == "postgresql://***host:5432/db"


@pytest.mark.usefixtures("configured")
def test_secrets_are_masked_inside_lists_and_in_other_spellings_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(Settings(log_format="json"), "api")

    structlog.get_logger().info(
        "api.started",
        servers=["nats://me:pa@ss@host:1", {"key": "sk_test_abc"}],
        dsn="host=h password=secret user=me",
        quoted="password='se cret' host=h",
        webhook="whsec_c2VjcmV0+/=",
    )

    (line,) = lines(capsys)
    assert line["servers"] == ["nats://***host:1", {"key": "***"}]
    assert line["dsn"] == "host=h password=*** user=me"
    assert line["quoted"] == "password=*** host=h"
    assert line["webhook"] == "***"


HOSTILE = (
    "a\nb\r\n2026-01-01T00:00:00Z info forged",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b2J",
    "a\u2028b\u2029c\x85d",
    "\u202egpj.exe",
    "\ud800",
    "\x00",
    "x" * 100_000,
    '"} {"level":"info',
)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("shape", ["json", "text"])
@pytest.mark.parametrize("value", HOSTILE)
def test_whatever_a_value_holds_its_event_is_one_harmless_line(
    capsys: pytest.CaptureFixture[str], shape: Literal["json", "text"], value: str
) -> None:
    configure_logging(Settings(log_format=shape), "api")

    structlog.get_logger().info(value, field=value, fields=[value] * 200, named={value: value})
    logging.getLogger(value.replace(".", "")).warning("%s", value)

    said = capsys.readouterr().err
    assert len(said.splitlines()) == said.count("\n") == 2
    assert said.replace("\n", "").replace("…", "").isprintable()
    for line in said.splitlines():
        assert line.startswith('{"timestamp":' if shape == "json" else "api       │ ")
    if shape == "json":
        first, _ = (json.loads(line) for line in said.splitlines())
        names = ["timestamp", "level", "process", "event", "field", "fields", "named"]
        assert list(first) == names
        assert len(first["field"]) <= 2001


@pytest.mark.usefixtures("configured")
def test_an_exception_is_told_by_class_and_place_not_by_its_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(Settings(log_format="json"), "api")

    try:
        int("jane@example.com")
    except ValueError:
        structlog.get_logger().exception("api.fault")

    (line,) = lines(capsys)
    assert line["error"] == "builtins.ValueError"
    assert "test_logs.py" in str(line["frames"])
    assert "jane" not in json.dumps(line)


@pytest.mark.usefixtures("configured")
def test_lines_of_libraries_come_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"), "api")

    logging.getLogger("some.library").warning("gone: %s\nfuture: <jane@example.com>", "socket")

    (line,) = lines(capsys)
    assert (line["logger"], line["message"]) == ("some.library", "gone: socket")


@pytest.mark.usefixtures("configured")
def test_what_is_below_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json", log_level="warning"), "api")

    structlog.get_logger().info("api.started")

    assert lines(capsys) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "[Errno 111] Connection refused"),
        (psycopg.OperationalError("server is away\ndetail"), "server is away"),
        (psycopg.errors.UniqueViolation("Key (email)=(jane@example.com) exists"), "-"),
        (psycopg.errors.InvalidTextRepresentation('invalid uuid: "jane"'), "-"),
        (psycopg.ProgrammingError('invalid percent-encoded token: "sec%zzret"'), "-"),
        (KeyError("jane@example.com"), "-"),
    ],
)
def test_a_message_is_shown_only_where_no_customer_can_be_in_it(
    error: Exception, message: str
) -> None:
    assert harmless_message(error) == message
