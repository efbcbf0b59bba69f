"""Reading with a subscriber, and what a test compares with it.

A conftest imports the fixtures: `nats_url` says on which server they are.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import delivery
from events.append import KeyedEvent
from events.envelope import Position, RecordedEvent
from events.keys import Keyring
from events.reading import recorded
from events.subscriber import CustomerSubscriber, Place
from tests.support.nats_server import NatsServer, nats_with
from tests.support.stream import HandStream


@pytest.fixture(scope="module")
def broker() -> Generator[NatsServer]:
    """A server that the tests of a module may stop."""
    with nats_with() as server:
        yield server


@pytest.fixture
async def client(nats_url: str) -> AsyncGenerator[Client]:
    """A connection that comes back."""
    client_ = await nats.connect(nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    yield client_
    await client_.close()


@pytest.fixture
async def stream(client: Client, keyring: Keyring, log_id: int) -> HandStream:
    """A stream that is empty yet."""
    stream_ = HandStream(client, keyring, log_id)
    await stream_.make()
    return stream_


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscribers that try again, and look for a newer generation, almost at once."""
    monkeypatch.setattr(delivery, "_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(delivery, "_PROBE_SECONDS", 0.1)


class Stubborn(Client):
    """A connection whose requests swallow a cancellation, as `wait_for` of Python 3.11 may."""

    def __init__(self) -> None:
        super().__init__()
        self.swallowed = 0
        self._asked: asyncio.Queue[None] = asyncio.Queue()

    async def request(self, *arguments: Any, **options: Any) -> Msg:
        """Ask as ever, and answer although whoever asks was cancelled meanwhile."""
        answer = asyncio.ensure_future(super().request(*arguments, **options))
        self._asked.put_nowait(None)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            self.swallowed += 1
            return await answer

    async def asked(self, requests: int) -> None:
        """Return when it waits for the answer to that one of the requests to come."""
        for _ in range(requests):
            await self._asked.get()


@pytest.fixture
async def stubborn(nats_url: str) -> AsyncGenerator[Stubborn]:
    """Such a connection."""
    client_ = Stubborn()
    await client_.connect(nats_url)
    # The first request has the connection begin to listen for answers.
    await Client.request(client_, "$JS.API.INFO")
    yield client_
    await client_.close()


async def read(subscriber: CustomerSubscriber, events: int) -> list[RecordedEvent]:
    """The next so many events."""
    return [await anext(subscriber) for _ in range(events)]


async def read_positions(subscriber: CustomerSubscriber, events: int) -> list[int]:
    """The positions of the next so many events."""
    return [event.position for event in await read(subscriber, events)]


def place_of(keyed: KeyedEvent, generation: int = 1) -> Place:
    """The place of an event, as a subscriber of its workspace has it."""
    event = keyed.stored
    return Place(
        position=event.position,
        chain=event.chain,
        workspace_sequence=event.workspace_sequence,
        generation=generation,
    )


def filling(
    keyring: Keyring, history: Sequence[KeyedEvent], at_once: int = 1
) -> Callable[[Place], Awaitable[list[RecordedEvent]]]:
    """A `fill` that gives what stands behind a place, so many events a time."""

    async def fill(place: Place) -> list[RecordedEvent]:
        behind = (
            keyed
            for keyed in history
            if keyed.stored.position > place.position
            and keyed.stored.workspace_sequence > (place.workspace_sequence or 0)
        )
        return [recorded(keyring, keyed) for keyed in list(behind)[:at_once]]

    return fill


def positions(events: Sequence[RecordedEvent]) -> list[Position]:
    """The positions of events."""
    return [event.position for event in events]
