"""What `customers events …` and `customers listen` share: filters, running, printing."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import rich_click as click
from msgspec.structs import replace

from events.envelope import CustomerId, Position, WorkspaceId
from events.errors import LostHistory, PositionBeyondEnd
from events.jetstream import ACTIONS
from events.walk import Wanted
from runtime.discovery import find_settings
from runtime.failure import Failure
from runtime.key_rules import check_data_space
from runtime.lifecycle import run_until_told
from runtime.logs import configure_logging
from runtime.settings import Settings
from runtime.standard_output import while_somebody_reads

_POSITION: Final = re.compile("[1-9][0-9]{0,17}")


def find_operator_settings() -> Settings:
    """The settings of the environment or of this folder's `customers dev`."""
    settings = find_settings()
    # Whatever is a person's business here is said in words; NATS being away is not.
    configure_logging(replace(settings, log_level="error"), "events")
    return settings


def read_wanted(workspace: str | None, customer: str | None, types: tuple[str, ...]) -> Wanted:
    """The filters of a command line; refuses what can fit nothing."""
    if workspace is not None:
        check_data_space(workspace)
    return Wanted(
        workspace_id=None if workspace is None else WorkspaceId(workspace),
        customer_id=None if customer is None else read_customer(customer),
        types=tuple(_type(name) for name in types),
    )


def read_customer(text: str) -> CustomerId:
    """The customer of an option; refuses what is no id."""
    try:
        return CustomerId(UUID(text))
    except ValueError:
        raise Failure(
            f"{text!r} is no id of a customer.", "customers events tail, which shows them"
        ) from None


def read_start(text: str | None) -> Position | None:
    """The first position of `--from`; None for `now`."""
    if text is None or text == "now":
        return None
    if text == "beginning":
        return Position(1)
    if not _POSITION.fullmatch(text):
        raise Failure(
            f"{text!r} is no position: a number from 1.",
            "--from beginning, --from 42 or --from now",
        )
    return Position(int(text))


def run(work: Coroutine[object, object, None], *, prints: bool = True) -> bool:
    """Run until it ends, or is told to end; whether it ended by itself.

    One that `prints` also ends when nobody reads on.
    """
    # Who was started by nohup stays when the terminal is closed.
    hears_hang_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    hang_up = (signal.SIGHUP,) if hears_hang_up else ()
    with _explained(), reader_may_leave():
        work = while_somebody_reads(work) if prints else work
        return asyncio.run(run_until_told(work, *hang_up))


def write(lines: list[bytes]) -> None:
    """Lines on stdout, now."""
    if lines:
        click.echo(b"\n".join(lines))


def say(words: str) -> None:
    """A word to the person, apart from what is printed for programs."""
    click.echo(words, err=True)


def _type(name: str) -> str:
    for long, short in ACTIONS.items():
        if name.lower() in (long.lower(), short):
            return long
    raise Failure(
        f"{name!r} is no type of event.", f"one of {', '.join([*ACTIONS.values(), *ACTIONS])}"
    )


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except PositionBeyondEnd as error:
        next_ = "customers events tail --follow" if error.end == 0 else f"--from {error.end}"
        raise Failure(str(error), next_) from None
    except LostHistory as error:
        raise Failure(
            str(error), "customers events tail, which shows how the log ends now"
        ) from None


@contextmanager
def reader_may_leave() -> Generator[None]:
    """A pipe that closes, as of `| head`, is how a reader says that it has enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer has nowhere to go.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        sys.exit(0)
