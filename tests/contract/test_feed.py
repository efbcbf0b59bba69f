"""`GET /events`: every event of a workspace, once, in order, from the first one ever."""

import asyncio
import json
from collections.abc import AsyncGenerator

import httpx
import pytest
from msgspec.structs import replace

from events.keys import Keyring
from events.log import LogReader, PostgresLog
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key
from tests.support.builders import GLOBEX, Writer
from tests.support.feed import EVENTS, STREAM, page, sequences, walk
from tests.support.writing import an_erased_customer, code_of, create, erase, errors

ENVELOPE = [
    *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"),
    *("sequence", "streamversion", "workspace", "data"),
]


@pytest.fixture
async def alone(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API of both sides without NATS, relay and projector."""
    async with running_api(replace(settings, nats_url="nats://127.0.0.1:1", read_wait=0)) as client:
        yield with_key(client, make_key(settings))


async def test_every_write_that_has_answered_is_there_whoever_else_is_away(
    alone: httpx.AsyncClient,
) -> None:
    customer_id = await create(alone, **REFERENCE_CUSTOMER)
    await alone.patch(f"{CUSTOMERS}/{customer_id}", json={"lastName": "Roe"})
    await alone.delete(f"{CUSTOMERS}/{customer_id}")
    await alone.post(f"{CUSTOMERS}/{customer_id}/restore")

    events, meta = await page(alone)

    assert [(event["type"], event["streamversion"]) for event in events] == [
        ("CustomerCreated", 1),
        ("CustomerUpdated", 2),
        ("CustomerDeleted", 3),
        ("CustomerRestored", 4),
    ]
    assert {event["subject"] for event in events} == {customer_id}
    assert [event["sequence"] for event in events] == [f"{number:020}" for number in (1, 2, 3, 4)]
    assert list(events[0]) == ENVELOPE
    assert events[1]["data"]["previous"] == {"last_name": "Doe"}
    assert events[1]["data"]["customer"]["last_name"] == "Roe"
    assert list(meta) == ["next_cursor", "has_more", "request_id"]
    assert meta["has_more"] is False


async def test_a_call_that_changes_nothing_is_no_event(alone: httpx.AsyncClient) -> None:
    customer_id = await create(alone)
    await alone.patch(f"{CUSTOMERS}/{customer_id}", json={})
    await alone.post(CUSTOMERS, json={"email": "nobody"})
    assert sequences(await walk(alone)) == [1]


async def test_pages_of_every_size_hold_the_same_events(
    both: httpx.AsyncClient, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    mine, theirs = Writer(keyring), Writer(keyring, GLOBEX)
    for count in (1, 3, 7):
        creations = [writer.creation() for _ in range(count) for writer in (theirs, mine)]
        await postgres_log.append(creations)
    expected = await walk(both)
    assert sequences(expected) == list(range(1, 12))
    for limit in (1, 2, 3, 5, 10, 11, 12, 500):
        assert await walk(both, limit=limit) == expected
    for limit, has_more in ((10, True), (11, False), (12, False)):
        assert (await page(both, limit=limit))[1]["has_more"] is has_more


async def test_there_is_no_gap_while_two_workspaces_write(
    both: httpx.AsyncClient, other_process: httpx.AsyncClient, settings: Settings
) -> None:
    keys = {"acme": both.headers["X-Api-Key"], "globex": make_key(settings, "globex")}
    each = 30
    is_done = asyncio.Event()

    async def write(client: httpx.AsyncClient, workspace: str, number: int) -> None:
        body = {"email": f"{workspace}-{number}@example.com"}
        key = {"X-Api-Key": keys[workspace]}
        answer = await client.post(CUSTOMERS, json=body, headers=key)
        assert answer.status_code == 200

    async def follow(workspace: str) -> list[str]:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        key = {"X-Api-Key": keys[workspace]}
        while True:
            was_done = is_done.is_set()
            answer = (await both.get(EVENTS, params=cursor | {"limit": "7"}, headers=key)).json()
            seen += [event["data"]["customer"]["email"] for event in answer["data"]]
            cursor["after"] = answer["meta"]["next_cursor"]
            expected = range(len(seen) - len(answer["data"]) + 1, len(seen) + 1)
            assert sequences(answer["data"]) == list(expected)
            if was_done and not answer["data"]:
                return seen

    following = [asyncio.create_task(follow(workspace)) for workspace in keys]
    await asyncio.gather(
        *(
            write(client, workspace, number)
            for number, client in enumerate([both, other_process] * (each // 2))
            for workspace in keys
        )
    )
    is_done.set()
    for workspace, seen in zip(keys, [await one for one in following], strict=True):
        assert sorted(seen) == sorted(f"{workspace}-{n}@example.com" for n in range(each))


async def test_an_empty_feed_has_a_cursor_that_goes_on(both: httpx.AsyncClient) -> None:
    events, meta = await page(both)
    assert (events, meta["has_more"]) == ([], False)
    again = await page(both, after=meta["next_cursor"])
    assert (again[0], again[1]["next_cursor"]) == ([], meta["next_cursor"])
    await create(both)
    assert sequences((await page(both, after=meta["next_cursor"]))[0]) == [1]


async def test_now_begins_behind_the_newest_event(both: httpx.AsyncClient) -> None:
    await create(both)
    events, meta = await page(both, after="now")
    assert (events, meta["has_more"]) == ([], False)
    await create(both)
    assert sequences((await page(both, after=meta["next_cursor"]))[0]) == [2]


async def test_at_the_end_the_cursor_stays(both: httpx.AsyncClient) -> None:
    await create(both)
    first = (await page(both))[1]["next_cursor"]
    events, meta = await page(both, after=first)
    assert (events, meta["next_cursor"]) == ([], first)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("limit=0", ("limit", "out_of_range")),
        ("limit=501", ("limit", "out_of_range")),
        ("limit=-1", ("limit", "out_of_range")),
        ("limit=1.5", ("limit", "not_a_number")),
        (f"limit={'9' * 5000}", ("limit", "out_of_range")),
        ("limit=1&limit=2", ("limit", "repeated")),
        ("wait=31", ("wait", "out_of_range")),
        ("wait=-1", ("wait", "out_of_range")),
        ("wait=0.5", ("wait", "not_a_number")),
        ("wait=", ("wait", "not_a_number")),
        ("hand_over=1", ("hand_over", "unknown_value")),
        ("hand_over=", ("hand_over", "unknown_value")),
        ("after=", ("after", "invalid_cursor")),
        ("after=NOW", ("after", "invalid_cursor")),
        ("after=now&after=now", ("after", "repeated")),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_and_the_limits_named(
    both: httpx.AsyncClient, query: str, told: tuple[str, str]
) -> None:
    answer = await both.get(f"{EVENTS}?{query}")
    assert answer.status_code == 400
    assert errors(answer) == [(*told, None)]
    if told[1] == "out_of_range":
        numbers = {"limit": "from 1 to 500", "wait": "from 0 to 30"}[told[0]]
        assert numbers in answer.json()["message"]


async def test_everything_that_is_wrong_is_told_at_once(both: httpx.AsyncClient) -> None:
    answer = await both.get(f"{EVENTS}?limit=0&wait=99&hand_over=x&after=x")
    named = [field for field, _, _ in errors(answer)]
    assert sorted(named) == ["after", "hand_over", "limit", "wait"]


async def test_unknown_parameters_are_warned_of_or_refused(both: httpx.AsyncClient) -> None:
    _, meta = await page(both, per_page=3)
    assert meta["warnings"] == ["per_page is no parameter of this call and was ignored."]
    strict = {"Prefer": "handling=strict"}
    for path in (EVENTS, STREAM):
        answer = await both.get(f"{path}?per_page=3", headers=strict)
        assert errors(answer) == [("per_page", "unknown_parameter", None)]
    assert (await both.get(f"{EVENTS}?limit=3", headers=strict)).status_code == 200


async def test_a_page_is_bounded_by_its_bytes_but_holds_one_event(
    both: httpx.AsyncClient,
) -> None:
    large = {"custom_fields": {"a": "x" * 16_000}}
    rows = [
        {"external_id": f"large-{number}", "email": "a@example.com"} | large
        for number in range(300)
    ]
    for start in range(0, len(rows), 150):
        answer = await both.post(f"{CUSTOMERS}/bulk", json=rows[start : start + 150])
        assert answer.json()["data"]["created"] == 150
    events, meta = await page(both, limit=500)
    assert 200 < len(events) < 300
    assert meta["has_more"] is True
    assert sequences(await walk(both, limit=500)) == list(range(1, 301))


async def test_of_an_erased_customer_there_are_the_events_without_data(
    both: httpx.AsyncClient, settings: Settings, postgres_log: PostgresLog, log_reader: LogReader,
    keyring: Keyring,
) -> None:  # fmt: skip
    customer_id = await create(both)
    await create(both)
    await erase(postgres_log, log_reader, keyring, customer_id)
    with connect_as_owner(settings, "test erasure") as owner:
        owner.execute("DELETE FROM keyring.data_keys WHERE stream_id = %s", [customer_id])

    events = await walk(both)

    assert sequences(events) == [1, 2, 3]
    assert [event["data"] is None for event in events] == [True, False, False]
    assert events[2]["type"] == "CustomerErased"
    assert events[2]["data"] == {}


async def test_while_the_key_is_there_an_erased_customers_events_can_be_read(
    both: httpx.AsyncClient, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    await an_erased_customer(postgres_log, keyring)
    assert [event["type"] for event in await walk(both)] == ["CustomerCreated", "CustomerErased"]


async def test_an_event_that_cannot_be_opened_is_never_left_out(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    await create(both)
    lost = await create(both)
    _, meta = await page(both, limit=1)
    with connect_as_owner(settings, "test loss") as owner:
        owner.execute("DELETE FROM keyring.data_keys WHERE stream_id = %s", [lost])
    assert sequences((await page(both, limit=1))[0]) == [1]
    for query in ("", f"?after={meta['next_cursor']}"):
        answer = await both.get(f"{EVENTS}{query}")
        assert (answer.status_code, code_of(answer)) == (500, "internal")


async def test_an_event_that_is_missing_in_the_log_is_no_gap_but_a_failure(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    for _ in range(3):
        await create(both)
    with connect_as_owner(settings, "test loss") as owner:
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        owner.execute(
            "DELETE FROM log.events WHERE log_id = %s AND workspace_sequence = 2",
            [settings.log_id],
        )
    answer = await both.get(EVENTS)
    assert (answer.status_code, code_of(answer)) == (500, "internal")


async def test_head_answers_the_headers_of_get(both: httpx.AsyncClient) -> None:
    await create(both)
    for path in (EVENTS, STREAM, f"{EVENTS}?after=x", f"{STREAM}?after=x"):
        head = await both.head(path)
        assert (head.status_code, head.content) == (400 if "?" in path else 200, b"")
        assert "ratelimit" in head.headers
    assert (await both.head(STREAM)).headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize("path", [EVENTS, STREAM])
async def test_only_who_may_read_customers_reads_events(
    both: httpx.AsyncClient, settings: Settings, path: str
) -> None:
    writer = {"X-Api-Key": make_key(settings, "acme", "customers:write")}
    answer = await both.get(path, headers=writer)
    assert answer.json()["detail"] == "API key lacks required scope: customers:read"
    assert (await both.get(path, headers={"X-Api-Key": "sk_live_nobody"})).status_code == 401
    reader = {"X-Api-Key": make_key(settings, "acme", "customers:read")}
    assert (await both.head(path, headers=reader)).status_code == 200


@pytest.mark.parametrize("space", ["globex", "acme-2", "acm", "acme_test"])
async def test_nothing_of_another_workspace_or_of_the_live_data_is_there(
    both: httpx.AsyncClient, settings: Settings, space: str
) -> None:
    await create(both)
    stranger = {
        "X-Api-Key": make_key(settings, space.removesuffix("_test"), test=space.endswith("_test"))
    }
    answer = await both.get(EVENTS, headers=stranger)
    assert answer.json()["data"] == []
    await both.post(CUSTOMERS, json={"email": "own@example.com"}, headers=stranger)
    (event,) = (await both.get(EVENTS, headers=stranger)).json()["data"]
    assert (event["workspace"], int(event["sequence"])) == (space, 1)
    assert "jane" not in json.dumps(event)
