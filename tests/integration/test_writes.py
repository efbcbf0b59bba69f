"""Writes over HTTP: what is in the log afterwards, and who wins a race."""

import asyncio

import httpx

from events.customer import CustomerCreated
from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from events.reading import recorded
from tests.support.api import CUSTOMERS


async def test_who_and_why_are_in_the_event(
    api: httpx.AsyncClient, log_reader: LogReader, keyring: Keyring
) -> None:
    headers = {"X-Actor": "clerk-7", "X-Reason": "signed up", "X-Request-Id": "req-1"}
    await api.post(CUSTOMERS, json={"email": "jane@example.com"}, headers=headers)

    (keyed,) = await log_reader.read_after(Position(0), 10)
    event = recorded(keyring, keyed).event

    assert isinstance(event, CustomerCreated)
    assert (event.actor, event.reason, event.request_id) == ("clerk-7", "signed up", "req-1")
    assert b"api_key_id" in keyed.stored.metadata
    assert b"clerk-7" not in keyed.stored.metadata
    assert b"req-1" not in keyed.stored.metadata
    assert b"jane" not in keyed.stored.payload


async def test_a_refused_request_writes_nothing(
    api: httpx.AsyncClient, log_reader: LogReader
) -> None:
    answers = [
        await api.post(CUSTOMERS, json={"firstName": 3}),
        await api.post(CUSTOMERS, content=b"{", headers={"Content-Type": "application/json"}),
        await api.post(CUSTOMERS, content=b"x", headers={"Content-Type": "text/plain"}),
        await api.put(f"{CUSTOMERS}/nonsense", json={}),
        await api.put(f"{CUSTOMERS}/01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21", json={}),
        await api.delete(f"{CUSTOMERS}/01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21"),
        await api.post(f"{CUSTOMERS}/bulk", json={"customers": []}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 415, 400, 404, 404, 400]
    for answer in answers:
        body = answer.json()
        assert list(body)[:5] == ["success", "status_code", "message", "errors", "meta"]
        assert body["success"] is False
    errors = {(error["field"], error["code"]) for error in answers[0].json()["errors"]}
    assert errors == {
        ("firstName", "wrong_type"),
        ("email", "contact_required"),
        ("phone", "contact_required"),
    }
    assert (await log_reader.head()).position == 0


async def test_of_two_creations_with_one_external_id_only_one_wins(
    api: httpx.AsyncClient, other_process: httpx.AsyncClient, log_reader: LogReader
) -> None:
    answers = await asyncio.gather(
        *(
            client.post(CUSTOMERS, json={"email": "a@b.test", "external_id": "cust-1"})
            for client in (api, other_process)
            for _ in range(4)
        )
    )

    won = [answer for answer in answers if answer.status_code == 200]
    lost = [answer for answer in answers if answer.status_code == 409]
    assert (len(won), len(lost)) == (1, 7)
    assert {answer.json()["existing_id"] for answer in lost} == {won[0].json()["data"]["id"]}
    assert (await log_reader.head()).position == 1
