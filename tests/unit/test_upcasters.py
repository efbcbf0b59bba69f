"""Old payloads reach the newest version step by step, and no step can be forgotten."""

from collections.abc import Mapping

import msgspec
import pytest
from msgspec import Raw

from events.upcasters import NEWEST_VERSION, UPCASTERS, Upcaster, Upcasters
from tests.support.evolution import missing_files

Members = dict[str, Raw]


def note(text: str) -> Upcaster:
    """A step that leaves a mark behind those that are there."""

    def step(members: Members) -> Members:
        marks = msgspec.json.decode(members.get("marks", Raw(b"[]")), type=list[str])
        return members | {"marks": Raw(msgspec.json.encode([*marks, text]))}

    return step


THREE = Upcasters(
    {"Thing": 3, "Other": 1}, {("Thing", 1): note("to 2"), ("Thing", 2): note("to 3")}
)


@pytest.mark.parametrize(("version", "marks"), [(1, ["to 2", "to 3"]), (2, ["to 3"]), (3, None)])
def test_an_old_payload_takes_every_step_from_its_version_in_order(
    version: int, marks: list[str] | None
) -> None:
    upcast = msgspec.json.decode(THREE.upcast("Thing", version, b"{}"))

    assert upcast == ({} if marks is None else {"marks": marks})


def test_what_a_step_does_not_touch_stays_byte_for_byte() -> None:
    payload = rb'{"score":1.10,"big":123456789012345678901234567890,"e":1e400,"text":"\u0041"}'

    upcast = THREE.upcast("Thing", 1, payload)

    assert msgspec.json.decode(upcast, type=dict[str, Raw]) == msgspec.json.decode(
        payload, type=dict[str, Raw]
    ) | {"marks": Raw(b'["to 2","to 3"]')}


def test_a_payload_of_the_newest_version_is_not_touched() -> None:
    payload = b'{ "a" : 1.0 }'

    assert THREE.upcast("Thing", 3, payload) is payload


@pytest.mark.parametrize(
    ("newest", "steps", "said"),
    [
        ({"Thing": 2}, {}, "Thing needs an upcaster from version 1 to 2"),
        ({"Thing": 3}, {("Thing", 2): note("")}, "Thing needs an upcaster from version 1 to 2"),
        ({"Thing": 3}, {("Thing", 1): note("")}, "Thing needs an upcaster from version 2 to 3"),
        ({"Thing": 1}, {("Thing", 1): note("")}, "from version 1 of Thing leads to no version"),
        ({"Thing": 1}, {("Thin", 1): note("")}, "from version 1 of Thin leads to no version"),
    ],
)
def test_steps_that_do_not_fit_the_versions_are_refused_at_once(
    newest: Mapping[str, int], steps: Mapping[tuple[str, int], Upcaster], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Upcasters(newest, steps)


def test_every_version_ever_has_its_files() -> None:
    assert missing_files(UPCASTERS.newest) == []


@pytest.mark.parametrize("event_type", NEWEST_VERSION)
def test_a_new_version_says_what_is_to_be_added(event_type: str) -> None:
    next_version = NEWEST_VERSION[event_type] + 1
    newest = dict(NEWEST_VERSION) | {event_type: next_version}
    name = f"{event_type}.v{next_version}.json"

    assert [sentence.partition(": ")[0] for sentence in missing_files(newest)] == [
        f"tests/golden/events/{name}",
        f"events/schemas/{name}",
        f"tests/golden/schemas/{name}",
    ]
    with pytest.raises(ValueError, match=f"{event_type} needs an upcaster"):
        Upcasters(newest, {})
