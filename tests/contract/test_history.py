"""`GET /customers/{id}/history`: who changed what, when and why; of the erased only that."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from events.customer import CustomerUpdated, PreviousData
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from runtime.accesses import list_accesses
from runtime.api_keys import list_keys, revoke_key
from runtime.postgres import connect_as_owner
from runtime.processes import api_app
from runtime.settings import Settings
from runtime.web.server import serve
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key
from tests.support.builders import JANE, Writer
from tests.support.writing import NOBODY, a_deleted_customer, code_of, create, erase, errors

MEMBERS = [
    *("type", "version", "sequence", "time", "event_id", "api_key_id", "api_key_name"),
    *("actor", "reason", "request_id", "changes"),
]
WHY = {"X-Actor": "clerk-7", "X-Reason": "asked for", "X-Request-Id": "ticket-99"}


@pytest.fixture
async def alone(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API of both sides without NATS, relay and projector."""
    async with running_api(replace(settings, nats_url="nats://127.0.0.1:1", read_wait=0)) as client:
        yield with_key(client, make_key(settings))


async def history(api: httpx.AsyncClient, customer_id: str, query: str = "") -> list[Any]:
    """The entries of a history that is answered."""
    answer = await api.get(f"{CUSTOMERS}/{customer_id}/history{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    """The lines of a history as CSV, by the names of its first line."""
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_a_history_tells_who_when_why_and_what_whoever_else_is_away(
    alone: httpx.AsyncClient, settings: Settings
) -> None:
    await create(alone)
    customer_id = await create(alone, **REFERENCE_CUSTOMER)
    one = f"{CUSTOMERS}/{customer_id}"
    changed = await alone.patch(one, json={"lastName": "Roe", "tags": ["a"]}, headers=WHY)
    await alone.delete(one)
    await alone.post(f"{one}/restore")

    answer = await alone.get(f"{one}/history")
    entries = answer.json()["data"]

    assert [(entry["type"], entry["version"], entry["sequence"]) for entry in entries] == [
        ("CustomerCreated", 1, 2),
        ("CustomerUpdated", 2, 3),
        ("CustomerDeleted", 3, 4),
        ("CustomerRestored", 4, 5),
    ]
    assert [list(entry) for entry in entries] == [MEMBERS] * 4
    with connect_as_owner(settings, "test keys") as owner:
        (key,) = list_keys(owner)
    assert {entry["api_key_id"] for entry in entries} == {str(key.key_id)}
    assert {entry["api_key_name"] for entry in entries} == {"live key"}
    updated = entries[1]
    assert updated["time"] == changed.json()["data"]["updated_at"]
    assert [updated[name] for name in ("actor", "reason", "request_id")] == list(WHY.values())
    assert updated["changes"] == {
        "last_name": {"from": "Doe", "to": "Roe"},
        "tags": {"from": ["vip"], "to": ["a"]},
    }
    assert entries[0]["changes"]["email"] == {"from": None, "to": "jane@example.com"}
    assert entries[0]["changes"]["tags"] == {"from": [], "to": ["vip"]}
    assert [entries[2]["changes"], entries[3]["changes"]] == [{}, {}]
    meta = answer.json()["meta"]
    assert (list(meta), meta["total"], meta["next_after"]) == (
        ["total", "next_after", "request_id"],
        4,
        None,
    )


async def test_changes_within_an_object_are_told_key_by_key_and_to_every_digit(
    both: httpx.AsyncClient,
) -> None:
    one = f"{CUSTOMERS}/{await create(both, custom_fields={'a': 1, 'same': [1], 'b.c': None})}"
    body = b'{"custom_fields":{"a":1.00000000000000000001,"b.c":null,"new":null,"x":{"y":2e400}}}'
    await both.patch(one, content=body, headers={"Content-Type": "application/merge-patch+json"})
    await both.patch(one, json={"communication_preferences": {"sms": True}})
    await both.patch(one, json={"communication_preferences": {"sms": None, "email": False}})
    answer = await both.get(f"{one}/history")
    first, fields, preference, preferences = answer.json()["data"]
    assert first["changes"]["custom_fields.a"] == {"to": 1}
    assert first["changes"]["custom_fields.b.c"] == {"to": None}
    assert list(fields["changes"]) == ["custom_fields.a", "custom_fields.x"]
    assert '"custom_fields.a":{"from":1,"to":1.00000000000000000001}' in answer.text
    assert '"custom_fields.x":{"to":{"y":2e400}}' in answer.text
    assert preference["changes"] == {"communication_preferences.sms": {"to": True}}
    assert preferences["changes"] == {
        "communication_preferences.email": {"to": False},
        "communication_preferences.sms": {"from": True},
    }


async def test_pages_of_every_size_hold_the_same_history(both: httpx.AsyncClient) -> None:
    one = f"{CUSTOMERS}/{await create(both)}"
    for number in range(6):
        await both.patch(one, json={"firstName": f"Jane {number}"})
    whole = (await both.get(f"{one}/history")).json()["data"]
    assert [entry["version"] for entry in whole] == [1, 2, 3, 4, 5, 6, 7]
    for limit in (1, 3, 6, 7, 500):
        walked: list[Any] = []
        after: int | None = 0
        while after is not None:
            page = (await both.get(f"{one}/history?limit={limit}&after={after}")).json()
            assert len(page["data"]) == min(limit, 7 - after)
            walked += page["data"]
            assert page["meta"]["total"] == 7
            after = page["meta"]["next_after"]
        assert walked == whole
    for beyond in (7, 8, 2**31 - 1):
        page = (await both.get(f"{one}/history?after={beyond}")).json()
        assert (page["data"], page["meta"]["next_after"]) == ([], None)


async def test_a_page_is_bounded_by_its_bytes_but_holds_one_event(both: httpx.AsyncClient) -> None:
    one = f"{CUSTOMERS}/{await create(both)}"
    for number in range(150):
        await both.patch(one, json={"custom_fields": {"a": f"{number:03}" + "x" * 16_000}})
    page = (await both.get(f"{one}/history?limit=500")).json()
    assert 100 < len(page["data"]) < 151
    assert page["meta"]["next_after"] == len(page["data"])
    lines = rows(await both.get(f"{one}/history?format=csv"))
    assert [int(line["version"]) for line in lines] == [1, *range(2, 152)]


async def test_an_erased_customers_history_says_that_and_when_and_not_what(
    both: httpx.AsyncClient, postgres_log: PostgresLog, log_reader: LogReader, keyring: Keyring
) -> None:
    customer_id = await create(both, **REFERENCE_CUSTOMER)
    one = f"{CUSTOMERS}/{customer_id}"
    await both.patch(one, json={"lastName": "Roe"}, headers=WHY)
    before = await history(both, customer_id)
    await erase(postgres_log, log_reader, keyring, customer_id)

    answer = await both.get(f"{one}/history")

    after = answer.json()["data"]
    assert [entry["type"] for entry in after] == [
        "CustomerCreated",
        "CustomerUpdated",
        "CustomerErased",
    ]
    forgotten = dict.fromkeys(("actor", "reason", "request_id", "changes"))
    assert after[:2] == [entry | forgotten for entry in before]
    assert after[2] == after[2] | forgotten | {"version": 3, "sequence": 3}
    as_csv = await both.get(f"{one}/history?format=csv")
    assert [line["field"] for line in rows(as_csv)] == ["", "", ""]
    for told in (answer.text, as_csv.text):
        for secret in ("Jane", "Roe", "example.com", "15550001234", "cust-001", *WHY.values()):
            assert secret not in told
    for query in ("", "?as_of=1", "?as_of=3", "?as_of=9", f"?as_of={before[0]['time']}"):
        assert code_of(await both.get(f"{one}{query}")) == "customer_erased"


async def test_a_spreadsheet_gets_a_line_for_each_change_and_no_formula(
    both: httpx.AsyncClient,
) -> None:
    fields = {"n": -1.50, "s": "-1+1", "t": 'say "x",\n=2', "b": True, "z": None}
    # A text that reads as JSON is told from what it reads as.
    fields |= {"five": "5", "five!": 5, "null": "null", "none": "", "deep": "[" * 9000}
    customer_id = await create(both, companyName="=1+1", phone="+15550001234", custom_fields=fields)
    one = f"{CUSTOMERS}/{customer_id}"
    await both.patch(one, json={"tags": ["a", "b"]}, headers={"X-Actor": "@me"})
    await both.delete(one)

    answer = await both.get(f"{one}/history?format=csv")

    assert answer.headers["content-type"] == "text/csv; header=present; charset=utf-8"
    name = f'attachment; filename="history-{customer_id}.csv"'
    assert answer.headers["content-disposition"] == name
    assert answer.text.startswith("version,sequence,time,type,event_id,api_key_id,api_key_name,")
    lines = rows(answer)
    assert list(lines[0]) == [
        *("version", "sequence", "time", "type", "event_id", "api_key_id", "api_key_name"),
        *("actor", "reason", "request_id", "field", "from", "to"),
    ]
    told = {line["field"]: (line["from"], line["to"]) for line in lines if line["version"] == "1"}
    assert told == {
        "email": ("", "jane@example.com"),
        "phone": ("", "+15550001234"),
        "company_name": ("", "'=1+1"),
        "custom_fields.n": ("", "'-1.5"),
        "custom_fields.s": ("", "'-1+1"),
        "custom_fields.t": ("", 'say "x",\n=2'),
        "custom_fields.b": ("", "true"),
        "custom_fields.z": ("", "null"),
        "custom_fields.five": ("", '"5"'),
        "custom_fields.five!": ("", "5"),
        "custom_fields.null": ("", '"null"'),
        "custom_fields.none": ("", '""'),
        "custom_fields.deep": ("", f'"{"[" * 9000}"'),
    }
    (update,) = (line for line in lines if line["version"] == "2")
    assert [update[name] for name in ("actor", "field", "from", "to")] == [
        *("'@me", "tags", "[]", '["a","b"]'),
    ]
    assert (lines[-1]["type"], lines[-1]["field"]) == ("CustomerDeleted", "")


async def test_a_key_is_named_whatever_became_of_it_and_no_other_workspaces_key_is(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    customer_id = await create(both)
    with connect_as_owner(settings, "test keys") as owner:
        (key,) = list_keys(owner)
        revoke_key(owner, key.key_id)
        with_key(both, make_key(settings, "acme"))
        assert (await history(both, customer_id))[0]["api_key_name"] == "live key"
        # As if the key were one of the sandbox: nobody learns of it here.
        owner.execute("UPDATE control.api_keys SET test = true WHERE key_id = %s", [key.key_id])
        assert (await history(both, customer_id))[0]["api_key_name"] is None
        owner.execute("DELETE FROM control.api_keys WHERE key_id = %s", [key.key_id])
    (entry,) = await history(both, customer_id)
    assert (entry["api_key_id"], entry["api_key_name"]) == (str(key.key_id), None)


async def test_what_cannot_be_asked_for_is_refused_but_not_before_there_is_a_customer(
    both: httpx.AsyncClient,
) -> None:
    deleted = await a_deleted_customer(both)
    for query, *told in (
        ("limit=0", "limit", "out_of_range", None),
        ("limit=501", "limit", "out_of_range", None),
        ("limit=x", "limit", "not_a_number", None),
        ("after=-1", "after", "out_of_range", None),
        ("after=2147483648", "after", "out_of_range", None),
        ("after=", "after", "not_a_number", None),
        ("format=xml", "format", "unknown_value", None),
        ("format=", "format", "unknown_value", None),
        ("format=csv&limit=5", "limit", "excluded", None),
        ("format=csv&after=5", "after", "excluded", None),
        ("consistency=strong", "consistency", "unknown_value", None),
    ):
        answer = await both.get(f"{CUSTOMERS}/{deleted}/history?{query}")
        assert (answer.status_code, errors(answer)) == (400, [tuple(told)]), query
        assert (await both.get(f"{NOBODY}/history?{query}")).status_code == 404
        malformed = await both.get(f"{CUSTOMERS}/4711/history?{query}")
        assert errors(malformed) == [("customer_id", "invalid_id", None), tuple(told)]


async def test_unknown_parameters_are_warned_of_or_refused(both: httpx.AsyncClient) -> None:
    path = f"{CUSTOMERS}/{await create(both)}/history?page=1&consistency=eventual"
    answer = await both.get(path)
    assert answer.json()["meta"]["warnings"] == [
        "page is no parameter of this call and was ignored."
    ]
    strict = await both.get(path, headers={"Prefer": "handling=strict"})
    assert errors(strict) == [("page", "unknown_parameter", None)]


async def test_a_stranger_is_answered_as_if_there_were_no_such_customer(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    customer_id = await create(both)
    strangers = [
        make_key(settings, "globex"),
        make_key(settings, "acme", test=True),
        make_key(settings, "acm"),
    ]
    for path in ("/history", "/history?format=csv", "/history?limit=0", "?as_of=1", "?as_of=2"):
        for key in strangers:
            headers = {"X-Api-Key": key, "X-Request-Id": "r-1"}
            answer = await both.get(f"{CUSTOMERS}/{customer_id}{path}", headers=headers)
            nobody = await both.get(f"{NOBODY}{path}", headers=headers)
            assert answer.status_code == nobody.status_code == 404
            assert answer.text.replace(customer_id, "") == nobody.text.replace(
                NOBODY.rsplit("/", 1)[1], ""
            )
    with connect_as_owner(settings, "test accesses") as owner:
        assert list(list_accesses(owner)) == []


async def test_only_who_may_read_customers_reads_histories(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    path = f"{CUSTOMERS}/{await create(both)}/history"
    writer = {"X-Api-Key": make_key(settings, "acme", "customers:write")}
    answer = await both.get(path, headers=writer)
    assert answer.json()["detail"] == "API key lacks required scope: customers:read"
    reader = {"X-Api-Key": make_key(settings, "acme", "customers:read")}
    for query in ("", "?format=csv"):
        head = await both.head(f"{path}{query}", headers=reader)
        assert (head.status_code, head.content) == (200, b"")
    assert (await both.post(path)).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_an_event_that_is_lost_or_cannot_be_opened_is_never_left_out(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    customer_id = await create(both)
    for name in ("A", "B", "C"):
        await both.patch(f"{CUSTOMERS}/{customer_id}", json={"firstName": name})
    path = f"{CUSTOMERS}/{customer_id}/history"
    with connect_as_owner(settings, "test loss") as owner:
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        owner.execute("DELETE FROM log.events WHERE stream_version = 3")
        assert (await both.get(f"{path}?limit=2")).status_code == 200
        for query in ("", "?after=1", "?after=2"):
            assert code_of(await both.get(f"{path}{query}")) == "internal", query
        owner.execute("DELETE FROM keyring.data_keys")
        assert code_of(await both.get(f"{path}?limit=1")) == "internal"


async def test_a_spreadsheet_that_breaks_off_on_the_way_is_no_whole_answer(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    customer_id = writer.a_customer()
    renamed = CustomerUpdated(customer=JANE, changed_fields=(), previous=PreviousData())
    updates = (writer.event(customer_id, version, renamed) for version in range(2, 503))
    await postgres_log.append([writer.group(writer.event(customer_id), *updates)])
    with connect_as_owner(settings, "test loss") as owner:
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        # The first of the second page that is read.
        owner.execute("DELETE FROM log.events WHERE stream_version = 501")
    stop, announced = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with api_app(settings, "query", stop) as app, httpx.AsyncClient() as client:
        serving = asyncio.create_task(
            serve(app, "127.0.0.1", 0, announce=announced.set_result, stop=stop)
        )
        server = f"http://127.0.0.1:{json.loads(await announced)['port']}"
        path = f"{server}{CUSTOMERS}/{customer_id}/history?format=csv"
        with pytest.raises(httpx.RemoteProtocolError):
            await with_key(client, make_key(settings)).get(path)
        stop.set()
        await serving


async def test_a_token_of_a_lost_time_is_told_and_every_other_is_served_at_once(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    written = await both.post(CUSTOMERS, json={"email": "jane@example.com"})
    token = {"X-Consistency-Token": written.headers["X-Consistency-Token"]}
    one = f"{CUSTOMERS}/{written.json()['data']['id']}"
    paths = (f"{one}/history", f"{one}?as_of=1", f"{CUSTOMERS}?as_of=2026-01-01T00:00:00Z")
    for path in paths:
        assert (await both.get(path, headers=token)).status_code == 200
    with connect_as_owner(settings, "test restore") as owner:
        owner.execute("ALTER TABLE log.events DISABLE TRIGGER events_refuse_change")
        owner.execute("UPDATE log.events SET chain = sha256('another history')")
    for path in paths:
        assert code_of(await both.get(path, headers=token)) == "lost_history"


async def test_every_read_of_the_past_is_recorded_and_none_is_answered_that_cannot_be(
    both: httpx.AsyncClient, settings: Settings
) -> None:
    customer_id = await create(both)
    one = f"{CUSTOMERS}/{customer_id}"
    paths = {
        f"{one}/history": "history",
        f"{one}/history?format=csv": "history",
        f"{one}?as_of=1": "as_of",
        f"{CUSTOMERS}?as_of=2026-01-01T00:00:00Z": "as_of",
    }
    for path in paths:
        assert (await both.get(path)).status_code == 200
    with connect_as_owner(settings, "test accesses") as owner:
        kept = list(list_accesses(owner))
        owner.execute("REVOKE EXECUTE ON FUNCTION control.record_access FROM customers_api")
        for path in paths:
            answer = await both.get(path)
            assert (answer.status_code, code_of(answer)) == (503, "unavailable")
            assert "recorded" in answer.json()["detail"]
            assert "jane" not in answer.text
        (key,) = list_keys(owner)
    assert [access.action for access in kept] == list(paths.values())
    assert [str(access.customer_id) for access in kept] == [customer_id] * 3 + ["None"]
    assert {(access.workspace_id, access.api_key_id, access.api_key_name) for access in kept} == {
        ("acme", key.key_id, "live key")
    }
    assert "jane" not in json.dumps([str(access) for access in kept])
