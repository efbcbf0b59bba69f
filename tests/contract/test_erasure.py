"""DELETE /customers/{id}/personal-data: a person is forgotten, and the receipt says where."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from psycopg import Connection
from psycopg.rows import TupleRow

from events.append import KeyedEvent
from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from runtime.accesses import list_accesses
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api
from tests.support.feed import walk
from tests.support.projecting import projecting
from tests.support.signals import LIMIT_SECONDS, until
from tests.support.writing import NOBODY, a_deleted_customer, bulk, code_of, create, errors


async def erase(api: httpx.AsyncClient, customer_id: str, **headers: str) -> httpx.Response:
    """Order the erasure of a customer."""
    return await api.delete(f"{CUSTOMERS}/{customer_id}/personal-data", headers=headers)


async def erased(api: httpx.AsyncClient, customer_id: str, **headers: str) -> dict[str, Any]:
    """The places of the receipt of an erasure, by their names."""
    answer = await erase(api, customer_id, **headers)
    assert answer.status_code == 200, answer.text
    return {place["where"]: place for place in answer.json()["data"]["places"]}


async def events_of(log_reader: LogReader, customer_id: str) -> list[KeyedEvent]:
    """The events of one customer."""
    events = await log_reader.read_after(Position(0), 1000)
    return [event for event in events if str(event.stored.stream_id) == customer_id]


async def test_the_receipt_says_what_was_destroyed_where_and_is_the_same_again(
    api: httpx.AsyncClient,
) -> None:
    customer_id = await create(api, **REFERENCE_CUSTOMER)
    await api.patch(f"{CUSTOMERS}/{customer_id}", json={"lastName": "Roe"})

    answer = await erase(api, customer_id)
    again = await erase(api, customer_id)

    told = answer.json()
    assert (answer.status_code, told["message"]) == (200, "Personal data erased")
    assert answer.headers["X-Consistency-Token"]
    receipt = told["data"]
    assert (receipt["customer_id"], receipt["finished"]) == (customer_id, False)
    assert [(p["where"], p["state"], p["count"]) for p in receipt["places"]] == [
        ("log", "done", 2),
        ("external_id", "done", 1),
        ("idempotency", "done", 0),
        ("read_model", "done", 1),
        ("jetstream", "pending", None),
        ("ledger", "pending", None),
        ("data_files", "scheduled", None),
        ("backups", "scheduled", None),
    ]
    by = {place["where"]: place["by"] for place in receipt["places"]}
    assert receipt["erased_at"] < by["data_files"] < by["backups"]
    assert (again.status_code, again.json()["data"]) == (200, receipt)


async def test_nothing_of_an_erased_customer_is_shown_and_its_external_id_is_free(
    both: httpx.AsyncClient, log_reader: LogReader
) -> None:
    live = await create(both, **REFERENCE_CUSTOMER)
    deleted = await a_deleted_customer(both)
    for customer_id in (live, deleted):
        await erased(both, customer_id)

        writes = [
            await both.get(f"{CUSTOMERS}/{customer_id}"),
            await both.put(f"{CUSTOMERS}/{customer_id}", json={"lastName": "Roe"}),
            await both.delete(f"{CUSTOMERS}/{customer_id}"),
            await both.post(f"{CUSTOMERS}/{customer_id}/restore"),
        ]
        assert [(a.status_code, code_of(a)) for a in writes] == [(410, "customer_erased")] * 4
        *before, last = await events_of(log_reader, customer_id)
        assert last.stored.type == "CustomerErased"
        assert all(event.erased and event.wrapped_key is None for event in before)

    listed = await both.get(CUSTOMERS)
    assert (listed.json()["data"], listed.json()["meta"]["total"]) == ([], 0)
    assert (await both.get(f"{CUSTOMERS}/tags")).json()["data"] == []
    assert (await both.get(f"{CUSTOMERS}/external/cust-001")).status_code == 404
    assert [event["data"] for event in await walk(both)] == [None, None, None, {}, {}]
    assert await create(both, **REFERENCE_CUSTOMER) not in {live, deleted}


async def test_only_its_own_workspace_and_the_scope_may_erase_a_customer(
    api: httpx.AsyncClient, settings: Settings, log_reader: LogReader
) -> None:
    customer_id = await create(api)

    def using(*scopes: str, workspace: str = "acme", test: bool = False) -> dict[str, str]:
        return {"X-Api-Key": make_key(settings, workspace, *scopes, test=test)}

    refused = await erase(api, customer_id, **using("customers:write", "customers:read"))
    assert (refused.status_code, refused.json()["detail"]) == (
        403,
        "API key lacks required scope: customers:erase",
    )
    strangers = [
        await erase(api, customer_id, **using(workspace="globex")),
        await erase(api, customer_id, **using(test=True)),
        await api.delete(f"{NOBODY}/personal-data"),
    ]
    bodies = [answer.json() for answer in strangers]
    for body in bodies:
        del body["meta"]["request_id"], body["instance"]
    assert {answer.status_code for answer in strangers} == {404}
    assert bodies[0] == bodies[1] == bodies[2]
    assert [event.erased for event in await events_of(log_reader, customer_id)] == [False]

    assert (await erase(api, customer_id, **using("customers:erase"))).status_code == 200
    after = await erase(api, customer_id, **using(workspace="globex"))
    assert after.status_code == 404
    malformed = await erase(api, "4711")
    assert (malformed.status_code, errors(malformed)) == (
        400,
        [("customer_id", "invalid_id", None)],
    )


async def test_who_and_why_are_not_kept_and_said_to_be_so(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    headers = {"X-Actor": "jane", "X-Reason": "jane@example.com asked"}
    customer_id = await create(api)

    strict = await erase(api, customer_id, Prefer="handling=strict", **headers)
    nobody = await api.delete(
        f"{NOBODY}/personal-data", headers={"Prefer": "handling=strict", **headers}
    )
    assert strict.status_code == 400
    assert [field for field, _, _ in errors(strict)] == ["X-Actor", "X-Reason"]
    assert nobody.status_code == 404

    answer = await erase(api, customer_id, **headers)
    warnings = answer.json()["meta"]["warnings"]
    assert [words.split()[0] for words in warnings] == ["X-Actor", "X-Reason"]
    _, event = await events_of(log_reader, customer_id)
    assert event.stored.payload == b'{"positions":[1]}'
    assert b"jane" not in event.stored.metadata
    assert b"api_key_id" in event.stored.metadata


async def test_nobody_is_erased_on_a_condition_that_is_not_looked_at(
    api: httpx.AsyncClient,
) -> None:
    customer_id = await create(api)
    for name in ("If-Match", "If-None-Match"):
        answer = await erase(api, customer_id, **{name: '"1"'})
        assert (answer.status_code, errors(answer)) == (400, [(name, "not_supported", None)])
        nobody = await api.delete(f"{NOBODY}/personal-data", headers={name: '"1"'})
        assert nobody.status_code == 404
    changed = await api.patch(f"{CUSTOMERS}/{customer_id}", json={"lastName": "Roe"})
    assert changed.status_code == 200


async def test_a_request_that_comes_again_makes_nobody_anew(api: httpx.AsyncClient) -> None:
    made = {"Idempotency-Key": "made"}
    first = await api.post(CUSTOMERS, json=REFERENCE_CUSTOMER, headers=made)
    customer_id = first.json()["data"]["id"]
    places = await erased(api, customer_id, **{"Idempotency-Key": "erased"})
    assert places["idempotency"]["count"] == 1

    again = await erase(api, customer_id, **{"Idempotency-Key": "erased"})
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    for body in (REFERENCE_CUSTOMER, REFERENCE_CUSTOMER | {"lastName": "Guess"}):
        answer = await api.post(CUSTOMERS, json=body, headers=made)
        assert (answer.status_code, code_of(answer)) == (410, "customer_erased")


async def test_the_key_of_an_order_that_found_nobody_left_is_kept_all_the_same(
    api: httpx.AsyncClient,
) -> None:
    customer_id = await create(api)
    await erased(api, customer_id)
    late = {"Idempotency-Key": "late"}
    first = await erase(api, customer_id, **late)
    assert (first.status_code, "Idempotency-Replayed" in first.headers) == (200, False)

    again = await erase(api, customer_id, **late)
    assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (200, "true")
    other = f"{CUSTOMERS}/{customer_id}/personal-data?other=1"
    answer = await api.delete(other, headers=late)
    assert (answer.status_code, code_of(answer)) == (422, "idempotency_key_reused")


async def test_nobody_who_writes_waits_while_erasures_wait_for_the_read_model(
    api: httpx.AsyncClient, owner: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.erasure.FORGET_SECONDS", LIMIT_SECONDS)
    made = [await create(api) for _ in range(3)]
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted"
    row = owner.execute("SELECT format('edition_%s.customers', projections.live_edition())")
    (table,) = row.fetchone() or ("",)
    with owner.transaction():
        owner.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        erasing = [asyncio.create_task(erased(api, customer_id)) for customer_id in made]
        await until(lambda: owner.execute(waiting, [table]).fetchone() != (0,))
        await create(api, external_id="meanwhile")
    for places in await asyncio.gather(*erasing):
        assert places["read_model"]["state"] == "done"


async def test_a_read_model_that_is_too_busy_to_forget_shows_nothing_of_the_person(
    both: httpx.AsyncClient,
    settings: Settings,
    keyring: Keyring,
    owner: Connection[TupleRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("events.erasure.FORGET_SECONDS", 0.1)
    customer_id = await create(both, **REFERENCE_CUSTOMER)
    async with projecting(settings, keyring) as model:
        await model.catch_up()
    assert (await both.get(f"{CUSTOMERS}/external/cust-001")).status_code == 200
    with owner.transaction():
        row = owner.execute("SELECT format('edition_%s.customers', projections.live_edition())")
        (table,) = row.fetchone() or ("",)
        owner.execute(f"SELECT FROM {table} FOR UPDATE".encode())
        assert (await erased(both, customer_id))["read_model"]["state"] == "pending"

        for eventual in ("", "consistency=eventual"):
            got = await both.get(f"{CUSTOMERS}/{customer_id}?{eventual}")
            assert (got.status_code, code_of(got)) == (410, "customer_erased")
            got = await both.get(f"{CUSTOMERS}/external/cust-001?{eventual}")
            assert (got.status_code, code_of(got)) == (404, "customer_not_found")
            for asked in ("", "search=jane", "tags=vip", "sort=email", "email=jane@example.com"):
                listed = await both.get(f"{CUSTOMERS}?{asked}&{eventual}")
                assert (listed.json()["data"], listed.json()["meta"]["stale"]) == ([], True)


async def test_an_erasure_and_every_reading_of_its_receipt_is_recorded(
    api: httpx.AsyncClient, settings: Settings
) -> None:
    customer_id = await create(api)
    nobodys = f"{NOBODY}/personal-data"
    strangers_key = make_key(settings, "globex")
    for _ in range(2):
        await erased(api, customer_id, **{"Idempotency-Key": "once"})
        # Who erases nobody is not said to have erased somebody.
        assert (await api.delete(nobodys)).status_code == 404
        stranger = await erase(api, customer_id, **{"X-Api-Key": strangers_key})
        assert stranger.status_code == 404
    with connect_as_owner(settings, "test accesses") as owner:
        found = list(list_accesses(owner))
    assert [(access.action, access.workspace_id, str(access.customer_id)) for access in found] == [
        ("erasure", "acme", customer_id),
        ("receipt", "acme", customer_id),
    ]
    assert None not in {access.api_key_id for access in found}


WRITES: dict[str, tuple[str, str, object]] = {
    "put": ("PUT", "/{id}", {"lastName": "Roe"}),
    "patch": ("PATCH", "/{id}", {"tags": ["gold"]}),
    "delete": ("DELETE", "/{id}", None),
    "restore": ("POST", "/{id}/restore", None),
    "external": ("PUT", "/external/key", {"email": "poe@example.com"}),
    "bulk": ("POST", "/bulk", [{"external_id": "key", "email": "joe@example.com"}]),
}


async def write(api: httpx.AsyncClient, name: str, customer_id: str) -> httpx.Response:
    """One of the writes that touch a customer with the external_id `key`."""
    method, path, body = WRITES[name]
    return await api.request(method, f"{CUSTOMERS}{path.format(id=customer_id)}", json=body)


@pytest.mark.parametrize("other", ["same process", "another process"])
async def test_whatever_is_written_meanwhile_is_before_the_erasure_or_is_refused(
    api: httpx.AsyncClient,
    other_process: httpx.AsyncClient,
    settings: Settings,
    log_reader: LogReader,
    other: str,
) -> None:
    writer = api if other == "same process" else other_process
    for round_ in range(6):
        await api.delete(f"{CUSTOMERS}/external/key")
        customer_id = await create(api, external_id="key")
        names = [*WRITES, *WRITES]
        writes = [write(writer, name, customer_id) for name in names]
        writes.insert(round_ * 2, erase(api, customer_id))
        writes.insert(round_, erase(writer, customer_id))
        answers = await asyncio.gather(*writes)

        receipts = [a.json()["data"] for a in answers if "places" in (a.json().get("data") or {})]
        assert len(receipts) == 2
        assert receipts[0]["erased_at"] == receipts[1]["erased_at"]
        assert {answer.status_code for answer in answers} <= {200, 404, 410}
        events = await events_of(log_reader, customer_id)
        assert [event.stored.type == "CustomerErased" for event in events] == [
            *[False] * (len(events) - 1), True,
        ]  # fmt: skip
        assert all(event.wrapped_key is None for event in events)
    with connect_as_owner(settings, "test keys") as owner:
        rows = owner.execute(
            "SELECT count(*) FROM keyring.data_keys k JOIN log.erasures x USING (stream_id)"
        ).fetchone()
        held = owner.execute(
            "SELECT count(*) FROM log.reservations r JOIN log.erasures x USING (stream_id)"
        ).fetchone()
    assert (rows, held) == ((0,), (0,))


async def test_of_a_bulk_call_one_customer_is_erased_and_the_others_stay(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    rows = [{"external_id": name, "email": f"{name}@example.com"} for name in ("a", "b")]
    made = await bulk(api, *rows)
    gone, stays = (row["id"] for row in made["results"])
    await erased(api, gone)

    again = await bulk(api, *rows)
    assert [row["status"] for row in again["results"]] == ["created", "unchanged"]
    assert again["results"][0]["id"] != gone
    (kept,) = await events_of(log_reader, stays)
    assert kept.wrapped_key is not None


async def test_without_nats_relay_and_projector_a_customer_is_erased_at_once(
    settings: Settings,
) -> None:
    alone = replace(settings, nats_url="nats://127.0.0.1:1", read_wait=0)
    async with running_api(alone) as client:
        client.headers["X-Api-Key"] = make_key(settings)
        customer_id = await create(client)
        places = await erased(client, customer_id)
        got = await client.get(f"{CUSTOMERS}/{customer_id}")
        ready = (await client.get("/health/ready")).json()
    assert places["read_model"]["state"] == "done"
    assert got.status_code == 410
    assert "not compared with the ledger" in ready["checks"]["erasures"]["detail"]


async def test_an_erasure_that_was_given_up_is_done_all_the_same(settings: Settings) -> None:
    async with running_api(replace(settings, write_wait=1)) as api:
        api.headers["X-Api-Key"] = make_key(settings)
        customer_id = await create(api)
        with connect_as_owner(settings, "test erasure") as connection:
            connection.execute("SELECT pg_advisory_lock(730541, %s)", [settings.log_id])
            given_up = await erase(api, customer_id)

        async def is_gone() -> bool:
            return (await api.get(f"{CUSTOMERS}/{customer_id}")).status_code == 410

        await until(is_gone)

    assert given_up.status_code == 503
    assert "is not known yet" in given_up.json()["message"]
