"""What is remembered of keys, for how long, and what never is."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from runtime.api_keys import hash_key
from runtime.key_rules import REMEMBERED_SECONDS
from runtime.web import authentication as module
from runtime.web.authentication import Authentication
from tests.support.web import READER, UNKNOWN, Keys, a_principal

KEY = READER.encode()


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_good_and_bad_keys_are_remembered_for_a_second() -> None:
    keys, clock = Keys(), Clock()
    authentication = Authentication(keys.lookup, clock=clock)
    for key, times in ((KEY, 1), (UNKNOWN.encode(), 2)):
        first = await authentication.find(key)
        assert await authentication.find(key) is first
        assert keys.asked == times
    clock.now += REMEMBERED_SECONDS
    await authentication.find(KEY)
    assert keys.asked == 3


async def test_what_cannot_be_a_key_is_never_looked_up() -> None:
    keys = Keys()
    authentication = Authentication(keys.lookup)
    for key in (None, b"", b"x", b"\xff", KEY[:20], b"SK_LIVE_" + KEY[8:], KEY + b"\n"):
        assert await authentication.find(key) is None
    assert keys.asked == 0


async def test_a_change_of_keys_counts_at_once() -> None:
    keys = Keys()
    authentication = Authentication(keys.lookup)
    assert await authentication.find(KEY) is not None
    keys.known.clear()
    authentication.invalidate()
    assert await authentication.find(KEY) is None


async def test_a_key_is_looked_up_once_for_all_who_wait_for_it() -> None:
    keys = Keys()
    authentication = Authentication(keys.lookup)
    keys.gate.clear()
    asking = [asyncio.create_task(authentication.find(KEY)) for _ in range(50)]
    await keys.is_asked.wait()
    asking[0].cancel()
    keys.gate.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert None not in found[1:]
    assert keys.asked == 1


async def test_an_answer_from_before_a_change_is_not_remembered() -> None:
    keys = Keys()
    authentication = Authentication(keys.lookup)
    keys.gate.clear()
    before = asyncio.create_task(authentication.find(KEY))
    await keys.is_asked.wait()
    keys.known.clear()
    authentication.invalidate()
    keys.gate.set()
    assert await before is not None
    assert await authentication.find(KEY) is None


async def test_a_lookup_that_fails_fails_for_everybody_and_is_tried_anew() -> None:
    keys = Keys()
    authentication = Authentication(keys.lookup)
    keys.fault = psycopg.OperationalError("away")
    found = await asyncio.gather(
        *(authentication.find(KEY) for _ in range(3)), return_exceptions=True
    )
    assert [type(error) for error in found] == [psycopg.OperationalError] * 3
    keys.fault = None
    assert await authentication.find(KEY) is not None


async def test_a_key_is_not_remembered_beyond_its_end() -> None:
    keys, clock = Keys(), Clock()
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    keys.known[hash_key(READER)] = a_principal(expires_at=soon)
    authentication = Authentication(keys.lookup, clock=clock)
    assert await authentication.find(KEY) is not None
    clock.now += 0.5
    await authentication.find(KEY)
    assert keys.asked == 2


async def test_a_flood_of_keys_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 10)
    keys = Keys()
    authentication = Authentication(keys.lookup)
    for number in range(100):
        await authentication.find(f"sk_live_{number:040}".encode())
    assert len(authentication._known) == 10
