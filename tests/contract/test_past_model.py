"""Whatever was written: the past is what the writes answered, and its changes lead to the present.

Each write answers the fold of its customer's events so far, so a version, a moment and a list as it
was must show exactly that.
"""

from typing import Any, TypeAlias

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import CUSTOMERS
from tests.support.past import get, replay, walk

Versions: TypeAlias = dict[int, dict[str, Any] | None]
"""What each version of a customer was; None: deleted."""

BODIES = st.fixed_dictionaries(
    {},
    optional={
        "first_name": st.sampled_from(["Jane", "Joan", None]),
        "tags": st.sampled_from([["a"], ["a", "b"], []]),
        "custom_fields": st.dictionaries(
            st.sampled_from(["a", "b", "b.c"]),
            st.sampled_from([None, 1, [1.5], {"x": None}]),
            max_size=2,
        ),
        "communication_preferences": st.dictionaries(
            st.sampled_from(["sms", "email"]), st.sampled_from([True, False, None])
        ),
    },
)
COMMANDS = st.tuples(
    st.integers(0, 2), st.sampled_from(["patch", "patch", "patch", "delete", "restore"]), BODIES
)


async def write(api: httpx.AsyncClient, versions: Versions, command: str, body: Any) -> None:
    """Do something to a customer, and learn from the answer what it is since."""
    first = versions[1]
    assert first is not None
    one = f"{CUSTOMERS}/{first['id']}"
    match command:
        case "delete":
            if (await api.delete(one)).is_success:
                versions[max(versions) + 1] = None
            return
        case "restore":
            answer = await api.post(f"{one}/restore")
        case _:
            answer = await api.patch(one, json=body)
    if answer.is_success:
        versions[answer.json()["data"]["version"]] = answer.json()["data"]


async def check_one(api: httpx.AsyncClient, versions: Versions) -> list[str]:
    """Compare a customer's past with what was answered; the time of each version."""
    first = versions[1]
    assert first is not None
    one = f"{CUSTOMERS}/{first['id']}"
    history = (await api.get(f"{one}/history")).json()["data"]
    assert [entry["version"] for entry in history] == list(versions)
    replayed: dict[str, Any] = {}
    for entry, document in zip(history, versions.values(), strict=True):
        replay(replayed, entry["changes"])
        if document is not None:
            assert {name: document[name] for name in replayed} == replayed
            empty = {name for name in document if name not in replayed and not document[name]}
            known = {*replayed, *empty, "id", "created_at", "updated_at", "version"}
            assert known == set(document)
        for as_of in (entry["version"], entry["time"]):
            answer = await get(api, one, as_of)
            assert (answer.json()["data"] if answer.is_success else None) == document
    return [entry["time"] for entry in history]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(commands=st.lists(COMMANDS, max_size=12))
async def test_the_past_is_what_the_writes_answered_and_its_changes_lead_to_the_present(
    both: httpx.AsyncClient, commands: list[tuple[int, str, Any]]
) -> None:
    told: list[Versions] = []
    for number in range(3):
        answer = await both.post(CUSTOMERS, json={"email": f"c{number}@example.com"})
        told.append({1: answer.json()["data"]})
    for at, command, body in commands:
        await write(both, told[at], command, body)
    moments: list[tuple[str, int, int]] = []
    for at, versions in enumerate(told):
        times = await check_one(both, versions)
        moments += [(time, at, version) for time, version in zip(times, versions, strict=True)]
    for moment in {time for time, _, _ in moments}:
        then = {at: told[at][version] for time, at, version in sorted(moments) if time <= moment}
        listed = [row for row in await walk(both, moment) if row["id"] in str(told)]
        assert listed == [then[at] for at in (2, 1, 0) if then.get(at) is not None]
