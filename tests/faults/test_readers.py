"""What a reader of the feed makes of the answers that it gets."""

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.settings import Settings
from runtime.tasks import end
from tests.faults.history import History
from tests.faults.lines import Line
from tests.faults.readers import FeedReader, StreamReader, following
from tests.faults.system import System, Workspace
from tests.support.signals import turns, until

FIRST: dict[str, Any] = {
    "sequence": "1",
    "subject": "jane",
    "streamversion": 1,
    "workspace": "acme",
}


@pytest.fixture
def history(tmp_path: Path) -> Generator[History]:
    """A history that is empty yet."""
    made = History(tmp_path / "history.jsonl")
    yield made
    made.close()


@asynccontextmanager
async def a_reader(
    history: History, tmp_path: Path, *answers: httpx.Response
) -> AsyncGenerator[tuple[FeedReader, list[httpx.Request]]]:
    """A reader of a server with these answers, then none; and what that was asked."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) > len(answers):
            raise httpx.ReadError("gone")
        return answers[len(asked) - 1]

    system = System(Settings(), tmp_path, 7)
    system.all_lines["client", "api"] = Line("client-api", "127.0.0.1", 1)
    reader = FeedReader(system, history, Workspace(name="acme", key="key"), "a reader")
    await reader.close()
    transport = httpx.MockTransport(answer)
    reader._http = httpx.AsyncClient(base_url="http://server", transport=transport)
    try:
        yield reader, asked
    finally:
        await reader.close()


@asynccontextmanager
async def going_on(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Let it follow until the block ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await end(task)


def a_page(*events: Any) -> httpx.Response:
    """A page of the feed."""
    return httpx.Response(200, json={"data": events, "meta": {"next_cursor": "behind"}})


def a_stream(event: str, data: Any) -> httpx.Response:
    """A stream with one event, which ends."""
    text = f"retry: 1\nid: begin\n\nid: behind\nevent: {event}\ndata: {json.dumps(data)}\n\n"
    return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


async def test_a_page_that_is_lost_is_told_once_and_the_reader_begins_anew(
    history: History, tmp_path: Path
) -> None:
    lost = httpx.Response(410, json={})
    async with (
        a_reader(history, tmp_path, a_page(FIRST), lost, a_page(FIRST)) as (reader, asked),
        going_on(reader.poll()),
    ):
        await until(lambda: len(asked) > 3)

    assert [one.url.params.get("after") for one in asked[:4]] == [None, "behind", None, "behind"]
    assert [one.check for one in history.violations] == ["feed"]
    assert "shown the first 1 events" in history.violations[0].words


async def test_a_stream_that_is_lost_is_told_once_and_the_reader_begins_anew(
    history: History, tmp_path: Path
) -> None:
    answers = [a_stream("created", FIRST), a_stream("lost_history", {}), a_stream("created", FIRST)]
    async with (
        a_reader(history, tmp_path, *answers) as (reader, asked),
        going_on(reader.stream()),
    ):
        await until(lambda: len(asked) > 3)

    places = [one.headers.get("Last-Event-ID") for one in asked[:4]]
    assert places == [None, "behind", None, "behind"]
    assert [one.check for one in history.violations] == ["feed"]


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (httpx.Response(500), ["feed"]),
        (httpx.Response(503), ["503"]),
        (httpx.Response(503, headers={"Retry-After": "1"}), []),
    ],
    ids=["500", "503 without Retry-After", "503"],
)
async def test_a_reader_may_be_told_to_come_back_and_nothing_else(
    history: History, tmp_path: Path, answer: httpx.Response, named: list[str]
) -> None:
    async with (
        a_reader(history, tmp_path, answer) as (reader, asked),
        going_on(reader.poll()),
    ):
        await until(lambda: len(asked) > 1)

    assert [one.check for one in history.violations] == named


async def test_whoever_swallows_that_it_is_to_end_ends_all_the_same(
    history: History, tmp_path: Path
) -> None:
    class Stubborn(StreamReader):
        async def follow(self) -> None:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    stream = Stubborn(System(Settings(), tmp_path, 7), history)
    task = asyncio.create_task(following([], stream))
    await turns(3)

    await end(task)

    assert task.cancelled()
