"""Who follows along while all this happens: nobody may see N+1 before N, or miss an event."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from typing import Any, Final

import httpx
import nats
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NothingCame
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from events.jetstream import stream_name
from query_side.feed_stream import LOST_EVENT
from runtime.tasks import end
from tests.faults.faults import FOREIGN
from tests.faults.history import History
from tests.faults.system import System, Workspace
from tests.support.feed import EventSource
from tests.support.signals import lapse

BASE: Final = "/api/v1/external"
_AGAIN_SECONDS: Final = 0.1
_ON_A_PAGE: Final = "10"
"""So few that whoever catches up comes to many a border between pages."""
_SILENT_SECONDS: Final = 20.0
"""Longer than the service lets a stream be silent."""


class Order:
    """What one follower has seen of a workspace, and whether that can be."""

    def __init__(self, history: History, name: str, workspace: str) -> None:
        self._history = history
        self.name = name
        self.workspace = workspace
        self._versions: Counter[str] = Counter()
        self.sequence = 0

    def saw(self, event: Any) -> None:
        """An event came: the next of the workspace, and of its customer."""
        sequence, customer = int(event["sequence"]), event["subject"]
        if sequence != self.sequence + 1:
            self._fail(f"saw {sequence} after {self.sequence}", customer)
        self.sequence = sequence
        self._versions[customer] += 1
        if event["streamversion"] != self._versions[customer]:
            self._fail(f"saw version {event['streamversion']} of {customer} too early", customer)
        if event["workspace"] != self.workspace:
            self._fail(f"saw an event of {event['workspace']}", customer)

    def _fail(self, words: str, *about: str) -> None:
        self._history.violated("order", f"{self.name} of {self.workspace} {words}", *about)


class FeedReader:
    """Follows the feed by long poll, or as server-sent events, from the first event on."""

    def __init__(self, system: System, history: History, workspace: Workspace, name: str) -> None:
        self.order = Order(history, name, workspace.name)
        self._history = history
        self._cursor = ""
        self._http = httpx.AsyncClient(
            base_url=f"{system.url}{BASE}",
            headers={"X-Api-Key": workspace.key},
            timeout=_SILENT_SECONDS,
            trust_env=False,
        )

    async def poll(self) -> None:
        """Read page after page, for ever."""
        while True:
            asked = {"wait": "5", "limit": _ON_A_PAGE} | (
                {"after": self._cursor} if self._cursor else {}
            )
            answer = await self._get("/events", asked)
            if answer is None:
                await lapse(_AGAIN_SECONDS)
                continue
            page = answer.json()
            for event in page["data"]:
                self.order.saw(event)
            self._cursor = page["meta"]["next_cursor"]

    async def _get(self, path: str, asked: dict[str, str]) -> httpx.Response | None:
        try:
            answer = await self._http.get(path, params=asked)
        except httpx.TransportError:
            return None
        if answer.status_code == 200:
            return answer
        self._judge(answer, answer.text)
        return None

    async def stream(self) -> None:
        """Read server-sent events, coming back with the last one's id, for ever."""
        while True:
            with suppress(httpx.TransportError, httpx.StreamError, TimeoutError):
                named = {"Last-Event-ID": self._cursor} if self._cursor else {}
                async with self._http.stream("GET", "/events/stream", headers=named) as answer:
                    if answer.status_code == 200:
                        await self._take(EventSource(answer))
                    else:
                        self._judge(answer, (await answer.aread()).decode())
            await lapse(_AGAIN_SECONDS)

    async def _take(self, source: EventSource) -> None:
        while sent := await source.next():
            if sent.event == LOST_EVENT:
                self._lose_place(json.dumps(sent.data))
                return
            self.order.saw(sent.data)
            assert sent.id
            self._cursor = sent.id

    def _judge(self, answer: httpx.Response, words: str) -> None:
        if answer.status_code == 410:
            self._lose_place(words)
        elif answer.status_code != 503:
            words = f"a reader was answered {answer.status_code}: {words}"
            self._history.violated("feed", words)
        elif "Retry-After" not in answer.headers:
            self._history.violated("503", f"a reader was answered without Retry-After: {words}")

    def _lose_place(self, words: str) -> None:
        """What this reader was shown is no longer so: say it once, and begin anew."""
        order = self.order
        shown = f"{order.name} of {order.workspace}, shown the first {order.sequence} events"
        self._history.violated("feed", f"{shown}, was told that they are lost: {words}")
        self._cursor, self.order = "", Order(self._history, order.name, order.workspace)

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()


class StreamReader:
    """Follows JetStream from its first message on, past every line."""

    def __init__(self, system: System, history: History) -> None:
        self._system = system
        self._settings = system.settings
        self._history = history
        self._generation = system.generation
        self.sequence = 0
        self.holes: list[int] = []
        """Sequences that it found no message at; erasures have to account for them."""

    async def follow(self) -> None:
        """Read message after message, for ever; a broker that is away is waited for."""
        while True:
            with suppress(NatsError, OSError, TimeoutError):
                client = await nats.connect(
                    self._settings.nats_url.split(","), allow_reconnect=False, error_cb=_nothing
                )
                try:
                    await self._read(client)
                finally:
                    with suppress(NatsError, OSError, TimeoutError):
                        await client.close()
            await lapse(_AGAIN_SECONDS)

    async def _read(self, client: Any) -> None:
        if self._generation != self._system.generation:
            # Its stream holds the log from the first event on.
            self._generation, self.sequence = self._system.generation, 0
            self.holes.clear()
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self.sequence + 1,
        )
        stream = stream_name(self._settings.log_id, self._generation)
        messages = await client.jetstream().pull_subscribe("", stream=stream, config=config)
        while client.is_connected and self._generation == self._system.generation:
            with suppress(NothingCame):
                for message in await messages.fetch(100, timeout=0.5):
                    self._saw(message)

    def _saw(self, message: Any) -> None:
        if message.data == FOREIGN:
            # The relay refuses to publish behind it, so that it is still to come what belongs here.
            return
        sequence = message.metadata.sequence.stream
        if sequence <= self.sequence:
            self._fail(f"message {sequence} came after {self.sequence}")
        self.holes += range(self.sequence + 1, sequence)
        self.sequence = sequence
        position = (message.headers or {}).get("Customers-Position")
        if position != str(sequence):
            self._fail(f"message {sequence} says that its position is {position}")
        if not message.data or json.loads(message.data).get("specversion") != "1.0":
            self._fail(f"message {sequence} is no event: {message.data!r}")

    def _fail(self, words: str) -> None:
        self._history.violated("order", f"whoever follows JetStream saw: {words}")


async def _nothing(_error: Exception) -> None:
    """A connection that is lost is seen by who reads."""


async def following(readers: list[FeedReader], stream: StreamReader) -> None:
    """Let all of them follow, until this is cancelled; every second one as server-sent events."""
    tasks = [
        asyncio.create_task(reader.stream() if number % 2 else reader.poll())
        for number, reader in enumerate(readers)
    ]
    tasks.append(asyncio.create_task(stream.follow()))
    try:
        await asyncio.gather(*tasks)
    finally:
        # A group of tasks cancels each once, and the client of NATS may swallow that.
        await end(*tasks)
        for reader in readers:
            await reader.close()
