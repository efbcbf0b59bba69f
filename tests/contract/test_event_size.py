"""No write is accepted whose event the broker would refuse, and every customer fits by default."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from events.batches import size_of
from events.envelope import Position
from events.log import LogReader
from events.rendering import AROUND_PAYLOAD
from runtime.postgres import Role, connect
from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.relaying import a_renderer
from tests.support.writing import bulk, code_of, create, row_errors

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
HISTORY = {"X-Actor": "a" * 100, "X-Reason": "r" * 256, "X-Request-Id": "i" * 100}
BULK = f"{CUSTOMERS}/bulk"


def largest(letter: str) -> dict[str, Any]:
    """A customer of the most bytes that the fields may have; escaped, a quote takes two."""
    wide = {"a": "\U0001f600", "b": "\U0001f601"}[letter]
    return {
        "email": f"{letter * 60}@{'.'.join([letter * 60] * 3)}.example",
        "phone": "+155500012345678",
        "firstName": wide * 300,
        "lastName": wide * 300,
        "companyName": wide * 500,
        "external_id": wide * 255,
        "tags": [f"{wide * 97}{number:03}" for number in range(100)],
        "custom_fields": {"text": letter + '"' * 8100},
        "communication_preferences": {"sms": letter == "a", "email": letter == "a"},
    }


@pytest.fixture
async def narrow(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API whose broker takes messages of 8 KiB."""
    async with running_api(replace(settings, nats_max_payload=8192)) as api:
        yield with_key(api, make_key(settings))


async def test_the_largest_customer_there_can_be_is_published_with_the_default_limit(
    api: httpx.AsyncClient, settings: Settings, log_reader: LogReader
) -> None:
    sent = await api.post(CUSTOMERS, json=largest("a"), headers=HISTORY | TRACE)
    assert sent.status_code == 200, sent.text
    one = f"{CUSTOMERS}/{sent.json()['data']['id']}"
    assert (await api.put(one, json=largest("b"), headers=HISTORY | TRACE)).status_code == 200

    _, updated = await log_reader.read_after(Position(0), 10)
    message = a_renderer(settings).message(updated, 1)
    # The values from before are in it too.
    assert len(message.body) > 120_000
    assert size_of(message) < settings.nats_max_payload // 2


async def test_what_stands_around_a_payload_never_takes_more_than_is_kept_for_it(
    settings: Settings,
) -> None:
    public_url = f"https://{'x' * 300}.example"
    longest = replace(settings, public_url=public_url, log_id=2_000_000_000)
    async with running_api(longest) as api:
        with_key(api, make_key(longest, "w" * 48, test=True))
        one = await api.post(CUSTOMERS, json={"email": "jane@example.com"}, headers=TRACE)
        assert one.status_code == 200, one.text
    async with await connect(longest, Role.RELAY, "test relay") as connection:
        (keyed,) = await LogReader(connection, longest.log_id).read_after(Position(0), 10)
    message = a_renderer(longest).message(keyed, 2_000_000_000)
    data = bytes(msgspec.json.decode(message.body, type=dict[str, msgspec.Raw])["data"])
    # Position and stream version are not as long yet as they may get.
    around = size_of(message) - len(data) - len(public_url) + 40
    assert 1000 < around < AROUND_PAYLOAD


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_write_whose_event_would_not_fit_is_refused_and_nothing_is_written(
    narrow: httpx.AsyncClient, log_reader: LogReader, method: str
) -> None:
    path = CUSTOMERS if method == "POST" else f"{CUSTOMERS}/{await create(narrow)}"
    before = await log_reader.read_after(Position(0), 10)
    big = {"email": "jane@example.com", "custom_fields": {"text": "a" * 10_000}}

    answer = await narrow.request(method, path, json=big, headers={"Idempotency-Key": "k-1"})
    assert (answer.status_code, code_of(answer)) == (413, "event_too_large")
    assert len(await log_reader.read_after(Position(0), 10)) == len(before)

    # Nothing was done with the key either.
    small = big | {"custom_fields": {}}
    again = await narrow.request(method, path, json=small, headers={"Idempotency-Key": "k-1"})
    assert again.status_code == 200, again.text


async def test_values_from_before_count_too_and_a_smaller_step_is_taken(
    narrow: httpx.AsyncClient,
) -> None:
    customer_id = await create(narrow, custom_fields={"text": "a" * 3000})
    path = f"{CUSTOMERS}/{customer_id}"
    other = {"custom_fields": {"text": "b" * 3000}}
    assert (await narrow.put(path, json=other)).status_code == 413
    assert (await narrow.put(path, json={"custom_fields": {"text": None}})).status_code == 200
    assert (await narrow.put(path, json=other)).status_code == 200


async def test_by_external_id_a_write_is_refused_for_its_size_whether_it_creates_or_changes(
    narrow: httpx.AsyncClient,
) -> None:
    path = f"{CUSTOMERS}/external/cust-001"
    big = {"email": "jane@example.com", "custom_fields": {"text": "a" * 10_000}}
    assert code_of(await narrow.put(path, json=big)) == "event_too_large"
    assert (await narrow.put(path, json={"email": "jane@example.com"})).status_code == 200
    assert code_of(await narrow.put(path, json=big)) == "event_too_large"


async def test_in_bulk_only_the_row_that_is_too_large_fails(
    narrow: httpx.AsyncClient, log_reader: LogReader
) -> None:
    fine = {"email": "jane@example.com", "external_id": "fine"}
    big = fine | {"external_id": "big", "custom_fields": {"text": "a" * 10_000}}

    data = await bulk(narrow, big, fine, big | {"external_id": "new"})
    assert [row["status"] for row in data["results"]] == ["failed", "created", "failed"]
    assert row_errors(data["results"][0]) == [("body", "event_too_large", "/0")]
    assert len(await log_reader.read_after(Position(0), 10)) == 1

    atomic = await narrow.post(f"{BULK}?atomic=true", json=[fine, big])
    assert atomic.status_code == 400
    assert [error["code"] for error in atomic.json()["errors"]] == ["event_too_large"]
