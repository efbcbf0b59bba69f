"""The event feed as its readers use it, on a real port where that matters."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, cast

import httpx
from litestar import Litestar

from runtime.postgres import connect_as_owner
from runtime.processes import Side, api_app
from runtime.settings import Settings
from runtime.web.server import serve
from tests.support.signals import LIMIT_SECONDS

EVENTS = "/api/v1/external/events"
STREAM = f"{EVENTS}/stream"


async def page(client: httpx.AsyncClient, **parameters: object) -> tuple[list[Any], Any]:
    """The events of a page, and its meta."""
    answer = await client.get(EVENTS, params={name: str(one) for name, one in parameters.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"], answer.json()["meta"]


async def walk(client: httpx.AsyncClient, **parameters: object) -> list[Any]:
    """All events from a place on, page by page."""
    found: list[Any] = []
    while True:
        events, meta = await page(client, **parameters)
        found += events
        if not meta["has_more"]:
            return found
        assert events
        parameters["after"] = meta["next_cursor"]


def sequences(events: list[Any]) -> list[int]:
    """The numbers of events among those of their workspace."""
    return [int(event["sequence"]) for event in events]


def lose_history(settings: Settings, behind: int) -> None:
    """Take the log back to a position, as restoring a backup of that time does."""
    with connect_as_owner(settings, "test restore") as owner, owner.transaction():
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        owner.execute(
            "DELETE FROM log.events WHERE log_id = %s AND position > %s", [settings.log_id, behind]
        )
        owner.execute("ALTER TABLE log.events ENABLE ALWAYS TRIGGER events_refuse_change")


def waiting_in(app: Litestar) -> int:
    """How many requests of an app wait for an event."""
    provided = cast(Any, app.dependencies["feed_means"]).dependency
    return sum(map(len, provided().arrivals._waiting.values()))


class Server:
    """An API on a port of its own."""

    def __init__(
        self, app: Litestar, port: int, stop: asyncio.Event, serving: asyncio.Task[None]
    ) -> None:
        self.port = port
        self._app = app
        self._stop = stop
        self._serving = serving

    def waiting(self) -> int:
        """How many wait for an event."""
        return waiting_in(self._app)

    def reading(self) -> int:
        """How many reads wait until a write is shown."""
        provided = cast(Any, self._app.dependencies["feed_means"]).dependency
        return len(provided().reads._freshness._waiting)

    async def end(self) -> None:
        """Tell it to stop, and wait until it has."""
        self._stop.set()
        async with asyncio.timeout(LIMIT_SECONDS):
            await self._serving


@asynccontextmanager
async def serving(
    settings: Settings, key: str, side: Side = "both"
) -> AsyncGenerator[tuple[Server, httpx.AsyncClient]]:
    """An API behind the server that a process runs, and a client with this key."""
    stop = asyncio.Event()
    announced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with api_app(settings, side, stop) as app:
        task = asyncio.create_task(
            serve(app, "127.0.0.1", 0, announce=announced.set_result, stop=stop)
        )
        server = Server(app, json.loads(await announced)["port"], stop, task)
        try:
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{server.port}",
                headers={"X-Api-Key": key},
                timeout=LIMIT_SECONDS,
                limits=httpx.Limits(max_connections=None),
            ) as client:
                yield server, client
        finally:
            await server.end()


class Sent(NamedTuple):
    """A server-sent event."""

    id: str | None
    event: str | None
    data: Any


class EventSource:
    """Reads a stream of server-sent events as the standard says."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id = ""
        self.retry: int | None = None
        self.comments: list[str] = []
        self._lines = answer.aiter_lines()

    async def next(self) -> Sent | None:
        """The next event; None when the stream has ended."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return await anext(aiter(self._events()), None)

    async def take(self, count: int) -> list[Sent]:
        """So many events."""
        taken: list[Sent] = []
        while len(taken) < count:
            sent = await self.next()
            assert sent is not None, "the stream has ended"
            taken.append(sent)
        return taken

    async def begin(self) -> None:
        """Wait for what stands before the first event."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while self.retry is None or not self.last_id:
                self._read(await anext(self._lines), {})

    async def _events(self) -> AsyncIterator[Sent]:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line:
                self._read(line, fields)
                continue
            data = fields.pop("data", None)
            if data is not None:
                yield Sent(self.last_id, fields.get("event"), json.loads(data))
            fields = {}

    def _read(self, line: str, fields: dict[str, str]) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "":
                self.comments.append(value)
            case "id":
                self.last_id = value
            case "retry":
                self.retry = int(value)
            case "event" | "data":
                assert name not in fields, "one line each"
                fields[name] = value
            case _:
                assert not line, f"no field of server-sent events: {line}"


@asynccontextmanager
async def streaming(
    client: httpx.AsyncClient, query: str = "", **headers: str
) -> AsyncGenerator[EventSource]:
    """A stream of events, until the block ends."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.stream("GET", f"{STREAM}{query}", headers=given) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield EventSource(answer)
