"""Who guesses keys is slowed down; who has the right one, behind the same address too, is not."""

import httpx
import pytest
from litestar.types import Scope

from runtime.web import wrong_keys as module
from runtime.web.authentication import Authentication
from runtime.web.envelope import BASE_PATH
from runtime.web.rate_limit import RateLimit
from runtime.web.wrong_keys import MINUTE, PAUSE_SECONDS, WrongKeys, address_of
from tests.support.web import ALMIGHTY, READER, Keys, Probes, an_app

THING = f"{BASE_PATH}/thing"
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


class World:
    """A tiny app that takes two wrong keys a minute, its clock, and the pauses it made."""

    def __init__(self) -> None:
        self.now = 0
        self.paused: list[float] = []
        self.keys = Keys()
        self.wrong = WrongKeys(2, clock=lambda: self.now, pause=self.pause)
        self.authentication = Authentication(
            self.keys.lookup, clock=lambda: self.now / 10**9, wrong_keys=self.wrong
        )
        self.app = an_app(self.authentication, Probes(), RateLimit(1000))

    async def pause(self, seconds: float) -> None:
        self.paused.append(seconds)

    async def get(
        self, key: str | None, *, address: str = HERE, path: str = THING
    ) -> httpx.Response:
        """One request from an address."""
        transport = httpx.ASGITransport(self.app, client=(address, 1))  # pyright: ignore[reportArgumentType] - Litestar types ASGI more narrowly
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers={} if key is None else {"X-Api-Key": key})

    async def guess(self, times: int, *, address: str = HERE, path: str = THING) -> list[int]:
        """The statuses of so many requests, each with a wrong key of its own."""
        guesses = [f"sk_live_{self.now}-{number:040}" for number in range(times)]
        return [(await self.get(key, address=address, path=path)).status_code for key in guesses]


@pytest.fixture
def world() -> World:
    """A tiny app."""
    return World()


async def test_who_sends_many_wrong_keys_is_slowed_and_answered_as_ever(world: World) -> None:
    assert await world.guess(4) == [401] * 4
    assert world.paused == [PAUSE_SECONDS]
    await world.guess(1, address=ELSEWHERE)
    assert world.paused == [PAUSE_SECONDS]


async def test_a_wrong_key_that_is_remembered_counts_each_time(world: World) -> None:
    for _ in range(4):
        assert (await world.get("sk_live_" + "w" * 43)).status_code == 401
    assert world.keys.asked == 1
    assert world.wrong.is_suspect(HERE)


async def test_the_right_key_is_served_at_once_behind_an_address_that_guesses(world: World) -> None:
    assert (await world.get(READER)).status_code == 200
    await world.guess(10)
    world.paused.clear()
    world.now += 10 * 10**9
    assert (await world.get(READER)).status_code == 200
    assert world.paused == []


async def test_a_right_key_that_is_new_to_the_process_waits_once(world: World) -> None:
    await world.guess(10)
    world.paused.clear()
    for _ in range(3):
        assert (await world.get(ALMIGHTY)).status_code == 200
        world.now += 2 * 10**9
    assert world.paused == [PAUSE_SECONDS]


async def test_what_cannot_be_a_key_counts_and_no_key_at_all_does_not(world: World) -> None:
    for _ in range(10):
        assert (await world.get(None)).status_code == 401
    assert not world.wrong.is_suspect(HERE)
    for _ in range(4):
        assert (await world.get("guess")).status_code == 401
    assert world.wrong.is_suspect(HERE)
    assert world.paused == []


async def test_no_other_path_tells_a_right_key_from_a_wrong_one_sooner(world: World) -> None:
    assert await world.guess(4, path=f"{BASE_PATH}/nothing") == [404] * 4
    assert world.paused == [PAUSE_SECONDS]


async def test_who_stops_guessing_is_served_as_before(world: World) -> None:
    await world.guess(10)
    world.now += MINUTE
    world.paused.clear()
    assert (await world.get(ALMIGHTY)).status_code == 200
    assert world.paused == []
    world.now += MINUTE
    await world.guess(4)
    assert world.paused == [PAUSE_SECONDS]


async def test_a_key_that_was_right_once_is_slowed_like_any_other_when_it_is_wrong(
    world: World,
) -> None:
    assert (await world.get(READER)).status_code == 200
    world.keys.known.clear()
    world.authentication.invalidate()
    for _ in range(4):
        assert (await world.get(READER)).status_code == 401
    world.now += 2 * 10**9
    await world.get(READER)
    assert world.paused == [PAUSE_SECONDS]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1:2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_a_network_of_one_household_is_one_address(one: str, other: str, *, is_same: bool) -> None:
    wrong = WrongKeys(1, clock=lambda: 0)
    wrong.note(one)
    wrong.note(one)
    assert wrong.is_suspect(other) == is_same


def test_many_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ADDRESSES", 10)
    wrong = WrongKeys(1, clock=lambda: 0)
    for number in range(1000):
        wrong.note(f"address-{number}")
    assert len(wrong._quiet_at) == 10


def test_a_client_without_an_address_has_one_for_all() -> None:
    scope: Scope = {"client": None}  # pyright: ignore[reportAssignmentType] - all that is read
    assert address_of(scope) == ""
