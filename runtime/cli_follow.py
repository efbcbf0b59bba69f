"""What `customers events …` and `customers listen` read: the log, opened event by event."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from uuid import UUID

import msgspec
import rich_click as click
from msgspec import Raw, Struct
from msgspec.structs import replace

from events import jetstream
from events.append import Head, KeyedEvent
from events.cloudevents import render_cloud_event
from events.customer import EVENT_TYPES
from events.envelope import CustomerId, Position, StoredEvent, WorkspaceId
from events.errors import EventsError, HistoryChanged, PositionBeyondEnd
from events.follower import Follower
from events.keys import Keyring
from events.log import LogReader
from events.reading import open_stored
from events.walk import Wanted
from runtime.discovery import find_settings
from runtime.failure import Failure
from runtime.lifecycle import run_until_told
from runtime.logs import configure_logging
from runtime.nats import NatsLine
from runtime.postgres import Role, connect
from runtime.settings import Settings, read_master_keys

_NAME: Final = "customers events"
_POSITION: Final = re.compile("[1-9][0-9]{0,17}")
_WORKSPACE: Final = re.compile("[a-z0-9-]{1,48}(_test)?")
ACTIONS: Final = {name: name.removeprefix("Customer").lower() for name in EVENT_TYPES}
"""Event types by the short name that stands in subjects and lines."""


class Opened(Struct, frozen=True, kw_only=True):
    """A stored event, and its payload as JSON unless it was erased or cannot be read."""

    stored: StoredEvent
    data: bytes | None
    fault: str | None = None
    """Why the payload cannot be read, though nobody erased it."""


class _Positioned(Struct, frozen=True, kw_only=True):
    position: int
    event: Raw


class Watch:
    """The log for one operator: finds events and opens them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._keyring = Keyring(read_master_keys(settings))

    @asynccontextmanager
    async def follower(self, wanted: Wanted, *, hears: bool) -> AsyncGenerator[Follower]:
        """Reads the wanted events; one that `hears` is rung by NATS, when NATS is there."""
        settings = self.settings
        follower = Follower(
            lambda: connect(settings, Role.RELAY, _NAME), settings.log_id, wanted, say
        )
        if not hears or not settings.nats_url:
            yield follower
            return

        def wake(_: bytes = b"") -> None:
            follower.wake()

        ping = jetstream.appended_ping(settings.log_id)
        line = NatsLine(settings, _NAME, hears={ping: wake}, on_connected=wake)
        async with line.kept_up():
            yield follower

    async def find(self, position: Position) -> tuple[Opened | None, Head]:
        """The event at a position, if there is one, and the end of the log."""
        async with await connect(self.settings, Role.RELAY, _NAME) as connection:
            reader = LogReader(connection, self.settings.log_id)
            head = await reader.head()
            events = await reader.read_after(Position(position - 1), 1)
        return (self.open(events[0]) if events else None), head

    def open(self, keyed: KeyedEvent) -> Opened:
        """The event with its payload, or why there is none."""
        try:
            return Opened(stored=keyed.stored, data=open_stored(self._keyring, keyed))
        except EventsError as error:
            return Opened(stored=keyed.stored, data=None, fault=str(error))

    def cloud_event(self, opened: Opened) -> bytes:
        """The event as JetStream has it; refuses one that cannot be read."""
        position = opened.stored.position
        if opened.fault is not None:
            raise Failure(
                f"Event {position} cannot be read: {opened.fault}",
                try_next=f"customers events show {position}; --from {position + 1} goes on behind",
            )
        data = b"null" if opened.data is None else opened.data
        return render_cloud_event(opened.stored, data, self.settings.public_url)

    def positioned(self, opened: Opened) -> bytes:
        """One JSON object: the event as JetStream has it, and its position in the log."""
        event = Raw(self.cloud_event(opened))
        return msgspec.json.encode(_Positioned(position=opened.stored.position, event=event))


def make_watch() -> Watch:
    """With the settings of the environment or of this folder's `customers dev`."""
    settings = find_settings()
    # Whatever is a person's business here is said in words; NATS being away is not.
    configure_logging(replace(settings, log_level="error"), "events")
    return Watch(settings)


def read_wanted(workspace: str | None, customer: str | None, types: tuple[str, ...]) -> Wanted:
    """The filters of a command line; refuses what can fit nothing."""
    if workspace is not None and _WORKSPACE.fullmatch(workspace) is None:
        raise Failure(
            f"{workspace!r} cannot name a workspace: 1 to 48 characters of a-z, 0-9 and '-'.",
            "--workspace acme, or acme_test for its sandbox",
        )
    try:
        customer_id = None if customer is None else CustomerId(UUID(customer))
    except ValueError:
        raise Failure(
            f"{customer!r} is no id of a customer.", "customers events tail, which shows them"
        ) from None
    return Wanted(
        workspace_id=None if workspace is None else WorkspaceId(workspace),
        customer_id=customer_id,
        types=tuple(_type(name) for name in types),
    )


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


def run(work: Coroutine[object, object, None]) -> bool:
    """Run until it ends, is told to end, or nobody reads on; whether it ended by itself."""
    with _explained(), _reader_may_leave():
        return asyncio.run(run_until_told(work))


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
    except HistoryChanged as error:
        raise Failure(
            str(error), "customers events tail, which shows how the log ends now"
        ) from None


@contextmanager
def _reader_may_leave() -> Generator[None]:
    """A pipe that closes, as of `| head`, is how a reader says that it has enough."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still in the buffer has nowhere to go.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        sys.exit(0)
