"""Sending what a client wants until it is answered, and judging every answer on the way."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import httpx

from tests.faults.history import History, Write
from tests.support.signals import lapse

BASE: Final = "/api/v1/external"
ATTEMPT_SECONDS: Final = 15.0
"""Longer than a write waits for the log: who gets no answer by then does not wait for one."""
SILENT_SECONDS: Final = 30.0
"""Longer than all that the API may wait for: by then it has said that it cannot."""
_AGAIN_SECONDS: Final = (0.02, 0.5)
_IMPATIENT: Final = 0.05
"""So many attempts are given up soon, and sent again."""
_IMPATIENT_SECONDS: Final = (0.003, 0.1)
_DOUBLED: Final = 0.03
"""So many are sent twice at once."""


def _may_be_silent(_seconds: float) -> bool:
    return False


class Sender:
    """One client's connection to the API, over the clients' line."""

    def __init__(
        self,
        url: str,
        key: str,
        history: History,
        name: str,
        chance: Random,
        transport: httpx.AsyncBaseTransport | None = None,
        must_answer: Callable[[float], bool] = _may_be_silent,
    ) -> None:
        self.name = name
        self.history = history
        self._chance = chance
        self._must_answer = must_answer
        self._silent_since: dict[bool, float] = {}
        """Since when reads, or writes, have got no answer that ends them."""
        self.http = httpx.AsyncClient(
            base_url=f"{url}{BASE}",
            headers={"X-Api-Key": key, "X-Actor": name},
            timeout=ATTEMPT_SECONDS,
            trust_env=False,
            transport=transport,
        )

    async def write(self, write: Write) -> bool:
        """Send a write again and again with its key until it is answered; whether it was done."""
        named = _headers_of(write)
        while True:
            write.attempts += 1
            self.history.note(
                "asked",
                marker=write.marker,
                attempt=write.attempts,
                method=write.method,
                path=write.path,
                headers=write.headers,
                body=write.body,
            )
            answer = await self._attempt_write(write, named)
            if answer is not None and not _is_to_be_repeated(answer):
                break
            await lapse(self._chance.uniform(*_AGAIN_SECONDS))
        self._answered(write, answer)
        return write.succeeded

    async def _attempt_write(self, write: Write, headers: dict[str, str]) -> httpx.Response | None:
        """One attempt; of an impatient client, or of one that sends everything twice at once."""

        def attempt(seconds: float) -> Awaitable[httpx.Response | None]:
            return self.attempt(write.method, write.path, headers, write.body, seconds=seconds)

        number = self._chance.random()
        if number < _IMPATIENT:
            # Sent again while the first of it is still under way.
            return await attempt(self._chance.uniform(*_IMPATIENT_SECONDS))
        if number < _IMPATIENT + _DOUBLED:
            answers = await asyncio.gather(attempt(ATTEMPT_SECONDS), attempt(ATTEMPT_SECONDS))
            final = [one for one in answers if one is not None and not _is_to_be_repeated(one)]
            # One of them may be refused for what others did, and the other find that undone.
            final.sort(key=lambda one: one.status_code in write.refusals)
            alike = [one for one in final if one.status_code not in write.refusals]
            if len(alike) == 2 and said_by(alike[0]) != said_by(alike[1]):
                words = f"two at once were answered {alike[0].text} and {alike[1].text}"
                self.fail("answered alike", words, write.marker)
            return final[0] if final else None
        return await attempt(ATTEMPT_SECONDS)

    async def send_again(self, write: Write) -> httpx.Response:
        """Send what was answered long ago once more, with its key, until there is an answer."""
        while True:
            answer = await self.attempt(write.method, write.path, _headers_of(write), write.body)
            if answer is not None and not _is_to_be_repeated(answer):
                return answer
            await lapse(self._chance.uniform(*_AGAIN_SECONDS))

    async def read(self, path: str, token: str | None = None) -> httpx.Response:
        """Ask until there is an answer that is no failure."""
        headers = {} if token is None else {"X-Consistency-Token": token}
        while True:
            answer = await self.attempt("GET", path, headers)
            if answer is not None and not _is_to_be_repeated(answer):
                return answer
            await lapse(self._chance.uniform(*_AGAIN_SECONDS))

    async def attempt(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: Any = None,
        *,
        seconds: float = ATTEMPT_SECONDS,
    ) -> httpx.Response | None:
        """One attempt; None when no answer came."""
        asked_at = self.history.now
        try:
            # The whole of it: a server that sends a byte a second has not answered.
            async with asyncio.timeout(seconds):
                answer = await self.http.request(method, path, headers=headers, json=body)
        except (httpx.TransportError, TimeoutError) as error:
            self.history.count(type(error).__name__)
            self.history.note("no answer", client=self.name, path=path, error=type(error).__name__)
            self._judge_silence(method, path, asked_at)
            return None
        self.history.count(str(answer.status_code))
        if _is_in_progress(answer):
            self._judge_silence(method, path, asked_at)
        else:
            self._silent_since.pop(method == "GET", None)
        if answer.status_code >= 500:
            self._judge_failure(method, path, answer)
        return answer

    def fail(self, check: str, words: str, *about: str) -> None:
        """Note that something promised did not hold."""
        self.history.violated(check, f"{self.name}: {words}", *about)

    def _answered(self, write: Write, answer: httpx.Response) -> None:
        history = self.history
        write.status, write.answered_at = answer.status_code, history.now
        history.note("answered", marker=write.marker, status=write.status, body=answer.text)
        if not write.succeeded:
            if write.status not in write.refusals:
                words = f"{write.method} {write.path} was answered {write.status}: {answer.text}"
                self.fail("unexpected answer", words, write.marker, write.customer)
            return
        history.written_at.append(history.now)
        write.data = answer.json()["data"]
        write.token = answer.headers.get("X-Consistency-Token")
        write.was_replayed = "Idempotency-Replayed" in answer.headers
        if "ETag" in answer.headers:
            write.version = int(answer.headers["ETag"].strip('"'))

    def _judge_silence(self, method: str, path: str, asked_at: float) -> None:
        """Whoever cannot be served is told so, and is not kept waiting."""
        is_read = method == "GET"
        seconds = self.history.now - self._silent_since.setdefault(is_read, asked_at)
        if seconds > SILENT_SECONDS:
            if self._must_answer(seconds):
                words = (
                    f"{method} {path} was left without an answer for {seconds:.0f} s, though the"
                )
                words += " API ran and could be reached all the time"
                self.fail("silence", words, self.name)
            del self._silent_since[is_read]

    def _judge_failure(self, method: str, path: str, answer: httpx.Response) -> None:
        self.history.note("failed", path=path, status=answer.status_code, body=answer.text)
        if method != "GET":
            self.history.refused_at.append(self.history.now)
        if answer.status_code != 503:
            self.fail("500", f"{method} {path} was answered {answer.status_code}: {answer.text}")
        elif "Retry-After" not in answer.headers:
            self.fail("503", f"{method} {path} was answered without Retry-After: {answer.text}")


def _headers_of(write: Write) -> dict[str, str]:
    return {"Idempotency-Key": write.marker, "X-Request-Id": write.marker} | write.headers


def said_by(answer: httpx.Response) -> Any:
    """What every answer to one request must say alike."""
    return what_is_said(answer.json().get("data"))


def what_is_said(data: Any) -> Any:
    """The data of an answer, without what tells how far an erasure is by now."""
    return (data["customer_id"], data["erased_at"]) if data and "erased_at" in data else data


def _is_to_be_repeated(answer: httpx.Response) -> bool:
    if answer.status_code >= 500:
        return True
    return _is_in_progress(answer)


def _is_in_progress(answer: httpx.Response) -> bool:
    return answer.status_code == 409 and "request_in_progress" in answer.text
