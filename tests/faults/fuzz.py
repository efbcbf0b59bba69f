"""Sends hostile requests to a running API, and says which of them it did not answer as it should.

    python -m tests.faults.fuzz http://127.0.0.1:8080 KEY… --minutes 10 --seed 7

Wrong is a 500; no answer at all to a request that is sound HTTP; words that only the inside knows;
and a health page that waits while hostile requests are worked on.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from msgspec import Struct, field

from tests.faults.hostile import Hostile, Sent
from tests.support.signals import at

ANSWER_SECONDS: Final = 20.0
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_INSIDE: Final = re.compile(
    rb"Traceback|psycopg|litestar|\.py\b|SQLSTATE|relation \"|site-packages|X-Injected: 1\r\n",
    re.IGNORECASE,
)
_OWN_PAGES: Final = re.compile(rb"text/html|text/javascript|text/css")
_AT_ONCE: Final = 8


class Found(Struct, kw_only=True):
    """What came of it."""

    requests: int = 0
    statuses: Counter[str] = field(default_factory=Counter[str])
    faults: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    """What is wrong, and the request it was said to."""
    slowest_health: float = 0.0
    """The longest that the health page took, in seconds."""
    slowest: tuple[float, bytes] = (0.0, b"")


async def attack(url: str, keys: Sequence[str], seed: int, *, seconds: float, most: int) -> Found:
    """Send for so many seconds, or so many requests."""
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS) as client:
        document = (await client.get("/openapi.json")).json()
        found = Found()
        ends = time.monotonic() + seconds
        looking = asyncio.create_task(_look(client, found))
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(_AT_ONCE):
                    hostile = Hostile(Random(f"{seed}-{number}"), document, keys)  # noqa: S311 - it repeats
                    tasks.create_task(
                        _send_all(url, hostile, found, ends=ends, most=most // _AT_ONCE)
                    )
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
    return found


async def _look(client: httpx.AsyncClient, found: Found) -> None:
    while True:
        begun = time.monotonic()
        await client.get("/health/live")
        found.slowest_health = max(found.slowest_health, time.monotonic() - begun)
        await at(asyncio.get_running_loop().time() + 0.05)


async def _send_all(url: str, hostile: Hostile, found: Found, *, ends: float, most: int) -> None:
    for _ in range(most):
        if time.monotonic() > ends:
            return
        sent = hostile.next()
        begun = time.monotonic()
        try:
            answer = await _send(url, sent)
        except TimeoutError:
            found.faults.append(("no answer", sent.data))
            continue
        found.slowest = max(found.slowest, (time.monotonic() - begun, sent.data))
        found.requests += 1
        _judge(sent, answer, found)
        _learn(answer, hostile)


async def _send(url: str, sent: Sent) -> bytes:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        with suppress(OSError):
            writer.write(sent.data)
            if not sent.is_whole:
                # What it is still waited for will not come.
                writer.write_eof()
        answer = bytearray()
        async with asyncio.timeout(ANSWER_SECONDS):
            with suppress(ConnectionError):
                while read := await reader.read(65_536):
                    answer += read
                    if sent.is_endless:
                        break
        return bytes(answer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _judge(sent: Sent, answer: bytes, found: Found) -> None:
    statuses = [status.decode() for status in _STATUS.findall(answer)]
    found.statuses.update(statuses or ["none"])
    if "500" in statuses:
        found.faults.append(("500", sent.data))
    if sent.is_whole and not statuses:
        found.faults.append(("closed without an answer", sent.data))
    head, _, body = answer.partition(b"\r\n\r\n")
    inside = _INSIDE.search(head if _OWN_PAGES.search(head) else answer)
    if inside and inside[0].lower() not in sent.data.lower() and b"openapi" not in body[:100]:
        found.faults.append((f"tells {inside[0]!r}", sent.data))


def _learn(answer: bytes, hostile: Hostile) -> None:
    body = answer.partition(b"\r\n\r\n")[2]
    with suppress(ValueError, KeyError, TypeError):
        told: Any = json.loads(body)
        hostile.customers = [*hostile.customers[-20:], str(told["data"]["id"])]


def main() -> int:
    """The command line; exit status 1 when something was wrong."""
    parser = argparse.ArgumentParser(description="Send hostile requests to an API.")
    parser.add_argument("url")
    parser.add_argument("keys", nargs="+", metavar="KEY")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    found = asyncio.run(
        attack(chosen.url, chosen.keys, chosen.seed, seconds=chosen.minutes * 60, most=10**9)
    )
    sys.stdout.write(f"{found.requests} requests: {dict(found.statuses)}\n")
    sys.stdout.write(f"health page: at most {found.slowest_health:.3f} s\n")
    sys.stdout.write(f"slowest: {found.slowest[0]:.3f} s: {found.slowest[1][:300]!r}\n")
    for what, data in found.faults:
        sys.stdout.write(f"{what}: {data[:2000]!r}\n")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
