"""Places are shared in turns between workspaces, and nobody waits for long."""

import asyncio
import random
from collections import Counter

import pytest

from runtime.places import NEWEST_FIRST, PLACE, NoPlace, Place, Places, aside
from tests.support.signals import turns, until

LONG = 30.0
SOON = 0.001


def a_place(places: Places, name: str = "acme", weight: int = 1) -> Place:
    """A place of somebody who is there to get the answer."""
    place = Place(places, name, lambda: False)
    place.weight = weight
    return place


class Line:
    """Asks for places, and notes in what order they are given."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.served: list[str] = []
        self.refused: list[str] = []
        self.held: list[Place] = []

    def ask(self, name: str, weight: int = 1, label: str = "") -> Place:
        place = a_place(self.places, name, weight)

        def serve() -> None:
            self.served.append(label or name)
            self.held.append(place)

        if place.take():
            serve()
        else:
            place.line_up(serve, lambda: self.refused.append(label or name))
        return place

    def finish(self, count: int = 1) -> None:
        for _ in range(count):
            self.held.pop(0).give()


async def test_so_many_are_served_at_once_and_the_others_in_turn() -> None:
    line = Line(Places(4, LONG))
    for number in range(3):
        line.ask("acme", label=f"a{number}")
        line.ask("globex", label=f"g{number}")
    assert line.served == ["a0", "g0", "a1", "g1"]
    assert (line.places.taken, line.places.waiting) == (4, 2)
    line.finish(2)
    assert line.served[4:] == ["a2", "g2"]
    line.finish(4)
    assert (line.places.taken, line.places.waiting) == (0, 0)


async def test_one_workspace_leaves_half_of_the_places_to_others() -> None:
    line = Line(Places(8, LONG))
    for _ in range(1000):
        line.ask("hog")
    assert line.served == ["hog"] * 4
    line.ask("acme")
    assert line.served[-1] == "acme"


async def test_who_sends_a_thousand_requests_is_in_nobodys_way() -> None:
    line = Line(Places(4, LONG))
    for _ in range(1000):
        line.ask("hog")
        line.ask("hog too")
    for _ in range(10):
        line.ask("acme")
    line.served.clear()
    line.finish(30)
    assert Counter(line.served) == {"hog": 10, "hog too": 10, "acme": 10}


async def test_what_was_served_long_ago_is_not_held_against_anybody() -> None:
    line = Line(Places(2, LONG))
    for _ in range(100):
        line.ask("early")
        line.finish()
    line.ask("early")
    line.ask("late")
    line.served.clear()
    for _ in range(10):
        line.ask("late")
    for _ in range(10):
        line.ask("early")
    line.finish(12)
    assert Counter(line.served) == {"early": 6, "late": 6}


async def test_a_heavy_request_counts_for_several_and_is_not_overtaken_for_ever() -> None:
    line = Line(Places(8, LONG))
    for _ in range(3):
        line.ask("acme")
        line.ask("globex")
    line.ask("initech", weight=4)
    for _ in range(8):
        line.ask("umbrella")
    assert "initech" not in line.served
    assert "umbrella" not in line.served
    line.finish(2)
    assert line.served[6] == "initech"
    assert line.places.taken == 8


async def test_the_heaviest_of_all_still_has_its_turn() -> None:
    line = Line(Places(4, LONG))
    line.ask("acme")
    line.ask("acme", weight=1000, label="huge")
    assert line.served == ["acme"]
    line.finish()
    assert line.served == ["acme", "huge"]


async def test_who_waits_too_long_is_refused_and_takes_no_place_later() -> None:
    line = Line(Places(2, SOON))
    line.ask("acme", label="first")
    line.ask("acme", label="second")
    await until(lambda: line.refused == ["second"])
    line.finish()
    assert line.served == ["first"]
    assert (line.places.taken, line.places.waiting) == (0, 0)
    line.ask("acme", label="third")
    assert line.served == ["first", "third"]


async def test_who_has_gone_gets_no_place() -> None:
    places = Places(2, LONG)
    line = Line(places)
    line.ask("acme")
    gone = Place(places, "acme", lambda: True)
    refused: list[bool] = []
    assert not gone.take()
    gone.line_up(lambda: None, lambda: refused.append(True))
    line.ask("acme", label="next")
    line.finish()
    assert line.served == ["acme", "next"]
    assert refused == [True]


async def test_when_there_is_too_much_to_do_the_newest_are_served_first() -> None:
    line = Line(Places(2, LONG))
    line.ask("acme")
    oldest = line.ask("acme", label="oldest")
    line.ask("acme", label="newest")
    oldest.since -= LONG * NEWEST_FIRST * 2
    line.finish()
    assert line.served == ["acme", "newest"]
    line.finish()
    assert line.served == ["acme", "newest", "oldest"]


async def test_who_stands_aside_lets_others_work_meanwhile() -> None:
    places = Places(2, LONG)
    place = a_place(places)
    await place.wait()
    PLACE.set(place)
    other = a_place(places)
    async with aside():
        await asyncio.wait_for(other.wait(), LONG)
        other.give()
    assert place.held == 1
    place.give()
    assert places.taken == 0


async def test_who_stood_aside_is_refused_when_there_is_no_place_any_more() -> None:
    places = Places(2, SOON)
    place = a_place(places)
    await place.wait()
    PLACE.set(place)
    other = a_place(places)
    with pytest.raises(NoPlace):
        async with aside():
            await other.wait()
    assert place.held == 0
    other.give()
    assert places.taken == 0


async def test_whoever_is_cancelled_while_waiting_keeps_no_place() -> None:
    places = Places(2, LONG)
    first = a_place(places)
    await first.wait()
    second = a_place(places)
    waiting = asyncio.create_task(second.wait())
    await turns(2)
    # Its turn comes, and before it knows it is cancelled.
    first.give()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (places.taken, places.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_no_order_of_events_breaks_the_bounds_or_forgets_anybody(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - an order to repeat, not a secret
    places = Places(10, LONG)
    line = Line(places)
    holds: Counter[str] = Counter()
    asked = 0
    for _ in range(2000):
        if chance.random() < 0.5:
            line.ask(chance.choice("abcdef"), weight=chance.choice((1, 1, 1, 3, 9)))
            asked += 1
        elif line.held:
            line.held.pop(chance.randrange(len(line.held))).give()
        holds = Counter()
        for place in line.held:
            holds[place.name] += place.held
        assert sum(holds.values()) == places.taken <= 10
        assert all(held <= places.share for held in holds.values())
        # Nobody waits beside a free place that fits the lightest.
        assert not places.waiting or places.taken > 0
    while line.held:
        line.finish()
    assert len(line.served) == asked
    assert (places.taken, places.waiting) == (0, 0)


async def test_workspaces_that_nobody_asks_for_any_more_are_forgotten() -> None:
    line = Line(Places(2, SOON))
    line.ask("acme")
    line.ask("globex")
    for number in range(50):
        line.ask(f"workspace {number}")
    await until(lambda: len(line.refused) == 50)
    line.finish(2)
    assert line.places._workspaces == {}
