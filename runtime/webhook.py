"""Sends messages to one HTTP endpoint, signed as Standard Webhooks says, until it accepts them."""

import asyncio
import base64
import binascii
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import httpx
from msgspec import Struct
from standardwebhooks import Webhook

from runtime.failure import Failure
from runtime.sealing import derived_key
from runtime.settings import MasterKeys
from runtime.words import one_line

_ANSWER_SECONDS: Final = 10.0
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what every secret begins with
_SECRET_BYTES: Final = range(24, 65)
_FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 60.0
# An answer is read to its end only to use its connection again; a long one is not worth it.
_BODY_BYTES_MAX: Final = 64 * 1024
_BODY_SECONDS: Final = 1.0
_WORDS_MAX: Final = 200


class Delivery(Struct, frozen=True, kw_only=True):
    """What is sent: each sending of it has the same id and body."""

    message_id: str
    content_type: str
    body: str


class Attempt(Struct, frozen=True, kw_only=True):
    """How one sending went, in words; and when the next one is, if there is one."""

    accepted: bool
    words: str
    seconds: float
    number: int
    """Which sending of the message it was, from 1."""
    again_in: float | None


class Endpoint:
    """One URL and the secret of its signatures. Waits double from `first_wait` seconds."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: httpx.URL,
        secret: str,
        *,
        retries: int,
        first_wait: float = _FIRST_WAIT_SECONDS,
        answer_seconds: float = _ANSWER_SECONDS,
    ) -> None:
        self._client = client
        self._url = url
        self._webhook = Webhook(secret)
        self._retries = retries
        self._first_wait = first_wait
        self._answer_seconds = answer_seconds

    async def deliver(self, delivery: Delivery, report: Callable[[Attempt], None]) -> bool:
        """Send until a 2xx answers, at most 1 + `retries` times; whether one did."""
        wait = self._first_wait
        for number in range(1, self._retries + 2):
            started = time.monotonic()
            accepted, words = await self._send(delivery)
            is_last = accepted or number > self._retries
            report(
                Attempt(
                    accepted=accepted,
                    words=words,
                    seconds=time.monotonic() - started,
                    number=number,
                    again_in=None if is_last else wait,
                )
            )
            if is_last:
                return accepted
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
        return False

    async def _send(self, delivery: Delivery) -> tuple[bool, str]:
        now = datetime.now(UTC)
        headers = {
            "content-type": delivery.content_type,
            "webhook-id": delivery.message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(delivery.message_id, now, delivery.body),
        }
        request = self._client.build_request(
            "POST", self._url, content=delivery.body.encode(), headers=headers
        )
        try:
            async with asyncio.timeout(self._answer_seconds):
                response = await self._client.send(request, stream=True)
        except TimeoutError:
            return False, f"no answer within {self._answer_seconds:g} s"
        except (httpx.HTTPError, OSError, UnicodeError) as error:
            return False, _words(error)
        await _finish(response)
        self._client.cookies.clear()
        return response.is_success, _status(response)


@asynccontextmanager
async def http_client(*, verify: bool) -> AsyncGenerator[httpx.AsyncClient]:
    """A client that goes straight to where it is told: no proxy, no redirect, no .netrc."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    async with httpx.AsyncClient(
        verify=context,
        trust_env=False,
        follow_redirects=False,
        timeout=None,  # noqa: S113 - each sending as a whole has a time limit
        headers={"user-agent": "customers"},
    ) as client:
        yield client


def read_url(text: str) -> httpx.URL:
    """The address of an endpoint; refuses what no POST can be sent to."""
    try:
        url = httpx.URL(text)
        is_web = url.scheme in ("http", "https") and bool(url.host)
        is_usable = is_web and (url.port is None or 1 <= url.port <= 65535)
    except httpx.InvalidURL:
        is_usable = False
    else:
        if is_usable:
            return url
    raise Failure(
        "The address to forward to is no http or https URL.",
        try_next="--forward-to http://127.0.0.1:3000/webhooks",
    )


def shown_url(url: httpx.URL) -> str:
    """The address without what may be secret in it: user, password and query."""
    return f"{url.scheme}://{url.netloc.decode()}{url.path}{'?…' if url.query else ''}"


def check_secret(text: str) -> str:
    """A secret as Standard Webhooks writes it; refuses others without quoting them."""
    try:
        key = base64.b64decode(text.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_SECRET_PREFIX) or len(key) not in _SECRET_BYTES:
        raise Failure(
            "The secret is not `whsec_` and base64 of 24 to 64 bytes.",
            try_next="customers listen --print-secret, which prints one that is",
        )
    return text


def stable_secret(master_keys: MasterKeys, log_id: int) -> str:
    """The secret of a log, the same at each start, also after a new master key came in front."""
    oldest = list(master_keys.by_id.values())[-1]
    key = derived_key(oldest, f"customers/1 webhooks\n{log_id}".encode())
    return _SECRET_PREFIX + base64.b64encode(key).decode()


async def _finish(response: httpx.Response) -> None:
    """Read the rest of a short answer, and hang up on a long one."""
    size = 0
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size > _BODY_BYTES_MAX:
                    break
    await response.aclose()


def _status(response: httpx.Response) -> str:
    # The standard's word, not the server's: that one may hold anything.
    known = {status.value: status.phrase for status in HTTPStatus}
    words = f"{response.status_code} {known.get(response.status_code, '')}".strip()
    return f"{words} (redirects are not followed)" if response.is_redirect else words


def _words(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        cause = cause.__cause__ or cause.__context__
    return one_line(error)[:_WORDS_MAX]
