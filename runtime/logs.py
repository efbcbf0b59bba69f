"""One structured line per event on stderr, without personal data and without secrets.

The message of an exception often quotes the value at fault, so only those of the network, of the
servers and of our own packages are shown; of any other the log names the class and the place.
"""

import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from runtime.settings import Settings

_OWN_PACKAGES = {"runtime", "events", "command_side", "query_side", "projections", "nats"}
_SECRETS = re.compile(r"sk_(?:live|test)_[\w-]+|(?<=://)[^/\s@]+@")
_FIRST_KEYS = ["timestamp", "level", "process", "event"]
_FRAMES_MAX = 12


def configure_logging(settings: Settings, process: str) -> None:
    """Send the lines of structlog and of the standard library to stderr, in the shape asked for."""
    level = getattr(logging, settings.log_level.upper())

    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {"process": process, **event}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            name_process,
            describe_exception,
            mask_secrets,
            _render_text if is_text(settings) else _render_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Forward()], level=max(level, logging.INFO), force=True)
    # It tells of every start and stop what our own lines tell as well.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # Its lines hold the query string, in which people search by name and address.
    logging.getLogger("uvicorn.access").disabled = True


def is_text(settings: Settings) -> bool:
    """Whether lines are for people (key=value) rather than for programs (JSON)."""
    if settings.log_format == "auto":
        return sys.stderr.isatty()
    return settings.log_format == "text"


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace `exc_info` by the class, the harmless part of the message and the frames."""
    given: object = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = cast("tuple[object, ...]", given)[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["error"] = _class_name(error)
        event["error_message"] = harmless_message(error)
        cause = error.__cause__ or error.__context__
        if cause is not None:
            event["cause"] = _class_name(cause)
            event["cause_message"] = harmless_message(cause)
        event["frames"] = _frames(error.__traceback__)
    return event


def _class_name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def harmless_message(error: BaseException) -> str:
    """The first line of the message when it can hold no value of a customer, else a dash."""
    # psycopg's errors carry the SQLSTATE; classes 22 and 23 quote the data they refuse.
    state: object = getattr(error, "sqlstate", None)
    package = type(error).__module__.partition(".")[0]
    is_ours = package in _OWN_PACKAGES
    is_server = package == "psycopg" and not (isinstance(state, str) and state[:2] in ("22", "23"))
    if is_ours or is_server or isinstance(error, OSError):
        return str(error).partition("\n")[0]
    return "-"


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blot out API keys, and user and password in addresses, wherever they got into a line."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _SECRETS.sub("***", value)
    return event


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return msgspec.json.encode(_ordered(event), enc_hook=str).decode()


def _render_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    rest = " ".join(
        f"{name}={_quoted(value)}" for name, value in event.items() if name not in _FIRST_KEYS
    )
    # The time of day, to the millisecond: who reads along knows the date.
    time = str(event["timestamp"])[11:23]
    head = f"{text_prefix(event['process'])}{time} {event['level']:<7} {event['event']}"
    return f"{head} {rest}".rstrip()


def text_prefix(process: str) -> str:
    """How a line for people begins: with the process it comes from."""
    return f"{process:<9} │ "


def _ordered(event: MutableMapping[str, object]) -> dict[str, object]:
    first = {name: event[name] for name in _FIRST_KEYS if name in event}
    return first | {name: value for name, value in event.items() if name not in first}


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    plain = text.isprintable() and not set(text) & set(' "=')
    return text if plain and text else msgspec.json.encode(text).decode()


class _Stderr:
    """Whoever reads stderr may go away; that is no reason to stop working."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


class _Forward(logging.Handler):
    """Gives the records of libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        # Only the first line: asyncio appends the repr of an exception, value and all.
        message = record.getMessage().partition("\n")[0]
        structlog.get_logger().log(
            record.levelno,
            "library.message",
            logger=record.name,
            message=message,
            exc_info=record.exc_info,
        )
