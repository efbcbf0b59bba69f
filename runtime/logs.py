"""One structured line per event on stderr, without personal data and without secrets.

The message of an exception often quotes the value at fault, so only those of the network, of the
servers and of our own packages are shown; of any other the log names the class and the place.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

from runtime.masking import mask
from runtime.settings import Settings

_OWN_PACKAGES = {"runtime", "events", "command_side", "query_side", "projections", "nats"}
_FIRST_KEYS = ["timestamp", "level", "process", "event"]
_FRAMES_MAX = 12
_LONGEST = 2_000
_MOST = 100
# What moves the cursor of a terminal, ends a line for some readers, or turns the writing round.
_MOVING = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


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
            tame_values,
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
    # Without one, an error of programming quotes the address it cannot read.
    quotes = state[:2] in ("22", "23") if isinstance(state, str) else _is_misread_address(error)
    is_server = package == "psycopg" and not quotes
    if is_ours or is_server or isinstance(error, OSError):
        return str(error).partition("\n")[0]
    return "-"


def _is_misread_address(error: BaseException) -> bool:
    return type(error).__name__ == "ProgrammingError"


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def tame_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blot out secrets, wherever they got into a line, and cut what is long."""
    for name, value in event.items():
        event[name] = _tamed(value)
    return event


def _tamed(value: object) -> object:
    if isinstance(value, str):
        # Half of a surrogate pair cannot be written, and a line that cannot be written is lost.
        masked = mask(value).encode("utf-8", "backslashreplace").decode("utf-8")
        return masked if len(masked) <= _LONGEST else f"{masked[:_LONGEST]}…"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {str(_tamed(str(name))): _tamed(inner) for name, inner in islice(pairs, _MOST)}
    if isinstance(value, list | tuple | set | frozenset):
        return [_tamed(inner) for inner in islice(cast("Iterable[object]", value), _MOST)]
    return value if isinstance(value, bool | int | float | None) else _tamed(str(value))


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _on_one_line(msgspec.json.encode(_ordered(event)).decode())


def _render_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    rest = " ".join(
        f"{name}={_quoted(value)}" for name, value in event.items() if name not in _FIRST_KEYS
    )
    # The time of day, to the millisecond: who reads along knows the date.
    time = str(event["timestamp"])[11:23]
    head = f"{text_prefix(event['process'])}{time} {event['level']:<7} {_quoted(event['event'])}"
    return _on_one_line(f"{head} {rest}".rstrip())


def _on_one_line(line: str) -> str:
    """The line as every reader and every terminal takes it: for one, and at rest."""
    return line if line.isascii() else _MOVING.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def text_prefix(process: str) -> str:
    """How a line for people begins: with the process it comes from."""
    return f"{process:<9} │ "


def _ordered(event: MutableMapping[str, object]) -> dict[str, object]:
    first = {name: event[name] for name in _FIRST_KEYS if name in event}
    return first | {name: value for name, value in event.items() if name not in first}


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
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
