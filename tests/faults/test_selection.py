"""The real processes, hurt for a short while in the ways that matter most, and every check."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import nats
import pytest
from msgspec.structs import replace

from events.jetstream import stream_name
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.benchmarks.deployment import a_folder
from tests.faults.catalogue import FAULTS
from tests.faults.checks import check, erased_positions
from tests.faults.clients import Board
from tests.faults.evidence import Evidence, caught_up, gather
from tests.faults.faults import Fault
from tests.faults.history import History, Write
from tests.faults.load import Load, Pace, loaded
from tests.faults.readers import Order
from tests.faults.run import Round, Runner
from tests.faults.system import System, a_system
from tests.support.signals import until

pytestmark = pytest.mark.timeout(300)

SELECTION: Final = (
    "deaf-client-api",
    "kill-api",
    "cut-api-postgres",
    "deaf-api-postgres",
    "crash-postgres",
    "kill-nats",
    "blink-relay-1",
    "blink-relay-2",
    "deaf-relay-nats",
    "half-open-relay-postgres",
    "blink-projector-1",
    "blink-projector-2",
    "half-open-projector-postgres",
    "pause-api",
    "hang-api-postgres",
    "kill-postgres",
    "cut-projector-postgres",
    "pause-nats",
    "pause-relay-1",
    "pause-relay-2",
)
"""Each for a second; longer ones, all others, and several at once are what `make faults` is for."""
_SECONDS: Final = {"pause-relay-1": 6.0, "pause-relay-2": 6.0}
"""So long that the other relay takes over, and the one that goes on believes in its old place."""
_SEED: Final = 7


def _lasting(fault: Fault) -> Fault:
    seconds = _SECONDS.get(fault.name, 1.0)
    return replace(fault, shortest=seconds, longest=seconds)


async def test_nothing_acknowledged_is_lost_whatever_dies_or_is_cut_off() -> None:
    plan = Round(seed=_SEED, faults=[_lasting(FAULTS[name]) for name in SELECTION])
    with a_folder() as folder:
        outcome = await Runner(plan, folder, print).run()

    told = list(zip(outcome.violations, outcome.excerpts, strict=True))
    assert told == []
    assert [one.fault for one in outcome.episodes] == list(SELECTION)
    assert outcome.acknowledged > 0
    # What is proven of writes that are sent again is proven only if some were.
    assert outcome.repeated > 0


@asynccontextmanager
async def a_quiet_end(folder: Path) -> AsyncGenerator[tuple[System, History, Load]]:
    """A system with a little history, in which all is well."""
    history = History(folder / "history.jsonl")
    pace = Pace(clients=1, rest_seconds=0.0)
    async with (
        a_system(folder, seed=_SEED, workspaces=("acme", "globex")) as system,
        loaded(system, history, seed=_SEED, pace=pace) as load,
    ):
        await until(lambda: len(history.written_at) > 60)
        await load.finish()
        await caught_up(system.settings, history)
        yield system, history, load
    history.close()


async def test_what_is_tampered_with_in_a_real_system_is_named() -> None:
    with a_folder() as folder:
        async with a_quiet_end(folder) as (system, history, load):
            assert history.violations == []

            lost = _lose_a_row(system.settings)
            position = await _lose_a_message(system.settings)
            _change_metadata(system.settings)
            update = _update_to_change(load, lost)
            update.data["email"] = "somebody@else.com"
            evidence = await gather(system, history)
            found = check(evidence)
            await _take_own_for_foreign(load, lost, update.customer)
            await _read_something_else(load)
            await next(one for one in load.clients if one.name == update.client).repeat_one(update)
            load.stream.holes.append(position)
            load.account_for_holes(erased_positions(evidence))
            assert _is_excerpt_of(history, update.marker)

    assert _named(found, "read model is fold", lost)
    assert _named(found, "stream is log", f"message {position} is not in the stream")
    assert _named(found, "acknowledged", "somebody@else.com")
    assert _named(found, "commands", "customers verify ended with 1")
    assert _named(found, "commands", "customers rebuild --verify ended with 1")
    live = {one.check for one in history.violations}
    assert live == {"read-your-writes", "repeated", "order", "workspaces apart"}
    _hold_beside(evidence)


def _named(found: list[Any], name: str, words: str) -> bool:
    return any(one.check == name and words in one.words for one in found)


def _is_excerpt_of(history: History, marker: str) -> bool:
    """Whether the history tells what was asked and answered under a marker."""
    lines = history.excerpt([f'"{marker}"'])
    return all(any(f'"what":"{what}"' in line for line in lines) for what in ("asked", "answered"))


def _hold_beside(evidence: Evidence) -> None:
    """What nobody tampered with still holds."""
    held = {"dense", "explained", "feed is log", "workspaces apart"}
    assert held.isdisjoint(one.check for one in check(evidence))


def _lose_a_row(settings: Settings) -> str:
    """Somebody deletes a customer from the read model by hand; its id."""
    with connect_as_owner(settings, "faults tampering") as owner:
        row = owner.execute(
            "DELETE FROM edition_1.customers WHERE customer_id ="
            " (SELECT customer_id FROM edition_1.customers LIMIT 1) RETURNING customer_id::text"
        ).fetchone()
    assert row is not None
    return str(row[0])


async def _lose_a_message(settings: Settings) -> int:
    """Somebody deletes a message of nobody who was erased from the stream; its sequence."""
    with connect_as_owner(settings, "faults tampering") as owner:
        row = owner.execute(
            "SELECT min(position) FROM log.events WHERE stream_id NOT IN"
            " (SELECT stream_id FROM log.erasures)"
        ).fetchone()
    assert row is not None
    client = await nats.connect(settings.nats_url)
    await client.jetstream().delete_msg(stream_name(settings.log_id, 1), int(row[0]))
    await client.close()
    return int(row[0])


def _change_metadata(settings: Settings) -> None:
    """Somebody with all rights changes who wrote an event."""
    with connect_as_owner(settings, "faults tampering") as owner, owner.transaction():
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        owner.execute("UPDATE log.events SET metadata = '{}' WHERE position = 5")
        owner.execute("ALTER TABLE log.events ENABLE ALWAYS TRIGGER events_refuse_change")


async def _read_something_else(load: Load) -> None:
    """A client reads another customer than it wrote."""
    client = load.clients[0]
    for one in client.known:
        one.document = one.document | {"email": "nobody@example.com"}
        one.is_deleted = False
    await client._look()


def _update_to_change(load: Load, lost: str) -> Write:
    """An update of somebody who is still there for all to see."""
    there = {one.id for client in load.clients for one in client.known} - {lost}
    done = load.clients[0].history.acknowledged()
    return next(one for one in done if one.kind == "update" and one.customer in there)


async def _take_own_for_foreign(load: Load, *others: str) -> None:
    """A client takes what it can read and write itself for another workspace's."""
    client = load.clients[0]
    live = [one for one in client.known if not one.is_deleted and one.id not in others]
    board = Board()
    board.newest = [
        write
        for write in client.history.acknowledged()
        if any(write.data == one.document for one in live)
    ]
    client._others = [board]
    await client._look_abroad()


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([(1, "a", 1), (3, "a", 2)], "saw 3 after 1"),
        ([(1, "a", 1), (1, "a", 1)], "saw 1 after 1"),
        ([(1, "a", 1), (2, "a", 3)], "version 3 of a"),
        ([(2, "a", 1)], "saw 2 after 0"),
    ],
)
def test_a_reader_says_what_it_saw_too_early_or_never(
    tmp_path: Path, events: list[tuple[int, str, int]], words: str
) -> None:
    history = History(tmp_path / "history.jsonl")
    order = Order(history, "a reader", "acme")

    for sequence, customer, version in events:
        seen = {"sequence": f"{sequence:020}", "subject": customer, "streamversion": version}
        order.saw(seen | {"workspace": "acme"})

    history.close()
    counts = Counter(one.check for one in history.violations)
    assert counts["order"] > 0
    assert any(words in one.words for one in history.violations)
