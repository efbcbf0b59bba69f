"""What a client makes of the answers that it gets, and of those that it does not get."""

import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from tests.faults.history import History, Write
from tests.faults.sending import Sender

DONE: dict[str, Any] = {"data": {"id": "jane", "email": "jane@example.com"}}


@pytest.fixture
def history(tmp_path: Path) -> Generator[History]:
    """A history that is empty yet."""
    made = History(tmp_path / "history.jsonl")
    yield made
    made.close()


@asynccontextmanager
async def answered_by(
    history: History,
    *answers: httpx.Response | Exception,
    must_answer: Callable[[float], bool] = lambda _: False,
    seconds: float = 0.0,
) -> AsyncGenerator[tuple[Sender, list[httpx.Request]]]:
    """A sender whose server has these answers, the last one for ever; and what that was asked.

    Each of them takes so many seconds by the clock of the history.
    """
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        history._began -= seconds
        found = answers[min(len(asked), len(answers)) - 1]
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    transport = httpx.MockTransport(answer)
    # With this seed, nothing is given up early or sent twice at once.
    sender = Sender("http://server", "key", history, "client", Random(3), transport, must_answer)  # noqa: S311 - a load to repeat, not a secret
    try:
        yield sender, asked
    finally:
        await sender.http.aclose()


def a_write(refusals: tuple[int, ...] = ()) -> Write:
    """A write that was never sent."""
    return Write(
        marker="m1",
        workspace="acme",
        client="client",
        kind="create",
        method="POST",
        path="/customers",
        body={"email": "jane@example.com"},
        refusals=refusals,
    )


def answer(status: int, body: Any = DONE, **headers: str) -> httpx.Response:
    """What a server says."""
    return httpx.Response(status, json=body, headers=headers)


async def test_what_got_no_answer_is_sent_again_as_it_was_until_it_is_answered(
    history: History,
) -> None:
    busy = answer(409, {"errors": [{"code": "request_in_progress"}]})
    away = answer(503, **{"Retry-After": "1"})
    gone = httpx.ReadError("the connection was reset")
    write = a_write()
    async with answered_by(history, gone, busy, away, answer(200, ETag='"1"')) as (sender, asked):
        assert await sender.write(write)

    assert {one.headers["Idempotency-Key"] for one in asked} == {"m1"}
    assert {one.headers["X-Request-Id"] for one in asked} == {"m1"}
    assert {json.dumps(json.loads(one.content)) for one in asked} == {json.dumps(write.body)}
    assert (write.attempts, write.version, write.data) == (4, 1, DONE["data"])
    assert history.violations == []


@pytest.mark.parametrize(
    ("first", "check"),
    [
        (answer(500), "500"),
        (answer(502), "500"),
        (answer(503), "503"),
    ],
    ids=["500", "502", "503 without Retry-After"],
)
async def test_a_failure_that_may_not_be_is_named_though_the_write_is_done_later(
    history: History, first: httpx.Response, check: str
) -> None:
    async with answered_by(history, first, answer(200)) as (sender, _):
        assert await sender.write(a_write())

    assert [one.check for one in history.violations] == [check]


@pytest.mark.parametrize(("refusals", "named"), [((), ["unexpected answer"]), ((404,), [])])
async def test_a_refusal_is_named_unless_others_may_be_the_cause(
    history: History, refusals: tuple[int, ...], named: list[str]
) -> None:
    async with answered_by(history, answer(404)) as (sender, _):
        assert not await sender.write(a_write(refusals))

    assert [one.check for one in history.violations] == named


@pytest.mark.parametrize(("could_answer", "named"), [(True, ["silence"]), (False, [])])
async def test_who_is_left_waiting_by_an_api_that_could_answer_is_named(
    history: History, could_answer: bool, named: list[str]
) -> None:
    busy = answer(409, {"errors": [{"code": "request_in_progress"}]})
    answers = (httpx.ReadTimeout("no answer"), busy, busy, answer(200))
    async with answered_by(history, *answers, must_answer=lambda _: could_answer, seconds=12) as (
        sender,
        _,
    ):
        assert await sender.write(a_write())

    assert [one.check for one in history.violations] == named


async def test_who_is_told_that_nothing_can_be_done_is_not_left_waiting(history: History) -> None:
    away = answer(503, **{"Retry-After": "1"})
    async with answered_by(
        history, *[away] * 4, answer(200), must_answer=lambda _: True, seconds=12
    ) as (sender, _):
        assert await sender.write(a_write())

    assert history.violations == []


async def test_two_at_once_that_are_answered_differently_are_named(history: History) -> None:
    other = answer(200, {"data": {"id": "joe", "email": "joe@example.com"}})
    async with answered_by(history, answer(200), other) as (sender, asked):
        sender._chance = _always(0.06)
        await sender.write(a_write())

    assert len(asked) == 2
    assert [one.check for one in history.violations] == ["answered alike"]


def _always(number: float) -> Random:
    """A chance that always says the same."""

    class Always(Random):
        def random(self) -> float:
            return number

    return Always()


def test_an_excerpt_tells_of_the_write_and_of_the_faults_around_it(history: History) -> None:
    history.note("asked", marker="m0")
    history.note("fault", name="kill-api")
    history.note("asked", marker="m1")
    history.note("answered", marker="m1")

    told = [json.loads(line)["what"] for line in history.excerpt(['"m1"'])]

    assert told == ["fault", "asked", "answered"]


def test_only_what_was_answered_with_success_is_acknowledged(history: History) -> None:
    done = replace(a_write(), status=200, answered_at=2.0)
    first = replace(a_write(), status=200, answered_at=1.0)
    history.writes += [done, replace(a_write(), status=412, answered_at=0.5), a_write(), first]

    assert history.acknowledged() == [first, done]
