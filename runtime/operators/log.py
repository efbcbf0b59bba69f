"""The log for one operator, opened: what `customers events …`, `listen`, `replay` and such read.

Built here and not in the composition root, which takes half a second to import.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from events import jetstream
from events.append import Head, KeyedEvent
from events.cloudevents import render_cloud_event
from events.envelope import Position, StoredEvent
from events.errors import EventsError
from events.follower import POLL_SECONDS, Follower
from events.keys import Keyring
from events.log import LogReader
from events.moments import last_until
from events.reading import open_stored
from events.walk import LogWalk, Wanted
from runtime.accesses import Access, Action, record_access
from runtime.failure import Failure
from runtime.nats import NatsLine
from runtime.postgres import Role, connect
from runtime.settings import Settings, read_master_keys

_NAME = "customers events"


class Opened(Struct, frozen=True, kw_only=True):
    """A stored event, and its payload as JSON unless it was erased or cannot be read."""

    stored: StoredEvent
    data: bytes | None
    fault: str | None = None
    """Why the payload cannot be read, though nobody erased it."""


class Gist(Struct, frozen=True, kw_only=True):
    """What a payload of any type and version may say of itself."""

    changed_fields: tuple[str, ...] = ()
    previous: dict[str, Raw] = {}
    customer: dict[str, Raw] = {}
    positions: tuple[int, ...] = ()
    actor: str | None = None
    reason: str | None = None
    request_id: str | None = None


read_gist: Final = msgspec.json.Decoder(Gist).decode


class _Positioned(Struct, frozen=True, kw_only=True, omit_defaults=True):
    position: int
    erased: bool = False
    event: Raw


class OpenedLog:
    """Finds and follows the events of a log, and opens them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keyring = Keyring(read_master_keys(settings))

    @asynccontextmanager
    async def follower(
        self,
        wanted: Wanted,
        tell: Callable[[str], None],
        *,
        hears: bool,
        poll_seconds: float = POLL_SECONDS,
    ) -> AsyncGenerator[Follower]:
        """Reads the wanted events; one that `hears` is rung by NATS, when NATS is there."""
        settings = self._settings
        follower = Follower(
            lambda: connect(settings, Role.RELAY, _NAME),
            settings.log_id,
            wanted,
            tell,
            poll_seconds=poll_seconds,
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
        async with await connect(self._settings, Role.RELAY, _NAME) as connection:
            reader = LogReader(connection, self._settings.log_id)
            head = await reader.head()
            event = await reader.read_at(position)
        return (None if event is None else self.open(event)), head

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
        return render_cloud_event(opened.stored, opened.data, self._settings.public_url)

    def positioned(self, opened: Opened) -> bytes:
        """One JSON object: the event as JetStream has it, and its position in the log."""
        event = Raw(self.cloud_event(opened))
        position, erased = opened.stored.position, opened.data is None
        return msgspec.json.encode(_Positioned(position=position, erased=erased, event=event))

    async def admit(self, action: Action, wanted: Wanted) -> Wanted:
        """Record that an operator is about to read these events; with the workspace, if it is one.

        Refuses a customer or a workspace that has no event.
        """
        async with await connect(self._settings, Role.RELAY, _NAME) as connection:
            walk = LogWalk(self._settings.log_id, wanted)
            if wanted != Wanted():
                first = await walk.read(connection, 1)
                if not first:
                    raise no_event_fits(wanted)
                if wanted.customer_id is not None:
                    wanted = replace(wanted, workspace_id=first[0].stored.workspace_id)
            access = Access(
                action=action, workspace_id=wanted.workspace_id, customer_id=wanted.customer_id
            )
            await record_access(connection, access)
        return wanted

    async def last_until(self, moment: datetime) -> Position:
        """The position of the last event that was recorded until then; 0 before the first one."""
        async with await connect(self._settings, Role.RELAY, _NAME) as connection:
            return await last_until(connection, self._settings.log_id, moment)


def no_event_fits(wanted: Wanted, first: Position | None = None) -> Failure:
    """That there is no event to show."""
    customer = None if wanted.customer_id is None else str(wanted.customer_id)
    words = ", ".join(filter(None, (wanted.workspace_id, customer, *wanted.types)))
    return Failure(
        f"No event fits: {words}{f', from position {first} on' if first else ''}.",
        "customers events tail, which shows the newest of all",
    )
