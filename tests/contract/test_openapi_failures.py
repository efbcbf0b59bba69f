"""Every failure is answered in the words of its example, with the headers and members described."""

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from events.token import Tokens
from runtime.postgres import connect_as_owner
from runtime.processes import api_document
from runtime.sealing import Sealer
from runtime.settings import Settings, read_master_keys
from runtime.web.json_body import BULK_LIMIT, OBJECT_LIMIT
from runtime.web.openapi_kit import EXAMPLE_REQUEST_ID
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.builders import ACME
from tests.support.signals import until
from tests.support.writing import NOBODY, create, erase

DOCUMENT: dict[str, Any] = msgspec.json.decode(api_document())
REGISTRY = Registry().with_resource("urn:api", DRAFT202012.create_resource(DOCUMENT))
SENT_BY_THE_SERVER = {"content-type", "content-length", "date"}
ONE = f"{CUSTOMERS}/{{customer_id}}"
EXTERNAL = f"{CUSTOMERS}/external/{{external_id}}"
BULK = f"{CUSTOMERS}/bulk"
ALICE = {"email": "alice@example.com"}
TOKEN = "X-Consistency-Token"
VARYING = {"instance", "meta", "existing_id"}


@pytest.fixture
async def api(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """An API that waits for nobody, with a key of one workspace."""
    async with running_api(replace(settings, read_wait=0.05)) as client:
        yield with_key(client, make_key(settings))


def check(answer: httpx.Response, name: str, path: str = CUSTOMERS) -> None:
    """The answer is the example of this name, and all that is in it is described."""
    assert stable(answer.json()) == stable(described(answer, path)[name])


def described(answer: httpx.Response, path: str = CUSTOMERS) -> dict[str, Any]:
    """The examples of an answer whose members and headers are as the document says."""
    operation = DOCUMENT["paths"][path][answer.request.method.lower()]
    told = component(operation["responses"][str(answer.status_code)])
    headers = {name.lower(): component(said) for name, said in told["headers"].items()}
    required = {name for name, said in headers.items() if said.get("required")}
    assert required <= set(answer.headers) <= set(headers) | SENT_BY_THE_SERVER
    for name in set(headers) & set(answer.headers):
        Draft202012Validator(headers[name]["schema"]).validate(answer.headers[name])
    content = told["content"]["application/json"]
    assert told["content"]["application/problem+json"] == content
    schema = {"$ref": f"urn:api{content['schema']['$ref']}"}
    Draft202012Validator(schema, registry=REGISTRY).validate(answer.json())
    return {name: example["value"] for name, example in content["examples"].items()}


def component(said: dict[str, str]) -> Any:
    """What a reference leads to."""
    kind, name = said["$ref"].removeprefix("#/components/").split("/")
    return DOCUMENT["components"][kind][name]


def stable(failure: dict[str, Any]) -> dict[str, Any]:
    """What of a failure is the same each time."""
    return {name: said for name, said in failure.items() if name not in VARYING}


def test_no_example_of_a_failure_is_missing_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    made = set(re.findall(r'"(\w+(?:\.\w+)?)"', text))
    responses = DOCUMENT["components"]["responses"].values()
    contents = [
        answer["content"]["application/json"] for answer in responses if "content" in answer
    ]
    assert {name for content in contents for name in content["examples"]} <= made


async def test_keys_that_may_not(settings: Settings) -> None:
    async with running_api(settings) as api:
        check(await api.get(CUSTOMERS), "invalid_key")
        with_key(api, make_key(settings, "acme", "customers:read"))
        check(await api.post(CUSTOMERS, json=ALICE), "missing_scope.write")
        with_key(api, make_key(settings, "acme", "customers:write"))
        check(await api.get(CUSTOMERS), "missing_scope.read")


async def test_a_key_that_asks_too_often(settings: Settings) -> None:
    async with running_api(replace(settings, rate_limit=1)) as api:
        with_key(api, make_key(settings))
        await api.post(CUSTOMERS, json=ALICE)
        answer = await api.post(CUSTOMERS, json=ALICE)
    example = described(answer)["rate_limited"]
    told, exemplary = (
        re.sub("[0-9]+", "n", failure["message"]) for failure in (answer.json(), example)
    )
    assert told == exemplary
    assert answer.json()["type"] == example["type"]


async def test_bodies_that_cannot_be_taken(api: httpx.AsyncClient) -> None:
    text = {"Content-Type": "text/plain"}
    one = f"{CUSTOMERS}/{await create(api)}"
    check(await api.post(CUSTOMERS, json={"email": "a" * OBJECT_LIMIT}), "body_too_long")
    check(await api.post(BULK, json=["a" * BULK_LIMIT]), "bulk_too_long", BULK)
    check(await api.post(CUSTOMERS, content=b"{}", headers=text), "not_json")
    check(await api.put(one, content=b"{}", headers=text), "not_json", ONE)
    check(await api.patch(one, content=b"{}", headers=text), "not_a_patch", ONE)
    check(await api.post(BULK, json=[]), "row_count", BULK)


async def test_a_body_that_is_compressed(api: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await api.post(CUSTOMERS, content=b"{}", headers=headers)
    assert answer.status_code == 415
    described(answer)


async def test_fields_and_ids_that_cannot_be_taken(api: httpx.AsyncClient) -> None:
    wrong = {"email": "nobody", "phone": 15550001234}
    check(await api.post(CUSTOMERS, json=wrong), "invalid_fields")
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = None if method in {"GET", "DELETE"} else ALICE
        answer = await api.request(method, f"{CUSTOMERS}/4711", json=body)
        check(answer, "malformed_id", ONE)
    for method in ("GET", "PUT", "DELETE"):
        body = ALICE if method == "PUT" else None
        answer = await api.request(method, f"{CUSTOMERS}/external/%00", json=body)
        check(answer, "malformed_external_id", EXTERNAL)


async def test_what_is_refused_under_strict_handling(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        CUSTOMERS, json=ALICE | {"id": 1}, headers={"Prefer": "handling=strict"}
    )
    assert answer.status_code == 400
    described(answer)


async def test_pages_that_there_cannot_be(api: httpx.AsyncClient) -> None:
    query = "?page=0&per_page=101"
    check(await api.get(f"{CUSTOMERS}{query}"), "page_out_of_range")
    check(await api.get(f"{CUSTOMERS}/tags{query}"), "page_out_of_range", f"{CUSTOMERS}/tags")


async def test_conflicts_with_what_there_is(api: httpx.AsyncClient) -> None:
    one = f"{CUSTOMERS}/{await create(api, external_id='cust-001')}"
    await api.put(one, json={"firstName": "Jane"})
    if_first = {"If-Match": '"1"'}
    check(await api.post(CUSTOMERS, json=ALICE | {"external_id": "cust-001"}), "external_id_taken")
    check(await api.put(one, json=ALICE, headers=if_first), "version_mismatch", ONE)
    check(await api.delete(one, headers=if_first), "version_mismatch", ONE)
    external = f"{CUSTOMERS}/external/cust-001"
    answer = await api.put(external, json=ALICE, headers={"If-None-Match": "*"})
    check(answer, "version_mismatch", EXTERNAL)


async def test_customers_that_there_are_not(api: httpx.AsyncClient) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = None if method in {"GET", "DELETE"} else ALICE
        check(await api.request(method, NOBODY, json=body), "customer_not_found", ONE)
    for method in ("GET", "DELETE"):
        answer = await api.request(method, f"{CUSTOMERS}/external/nobody")
        check(answer, "external_id_not_found", EXTERNAL)


async def test_a_customer_that_was_erased(
    api: httpx.AsyncClient, postgres_log: PostgresLog, log_reader: LogReader, keyring: Keyring
) -> None:
    customer_id = await create(api)
    await erase(postgres_log, log_reader, keyring, customer_id)
    for method in ("GET", "PUT", "DELETE"):
        body = ALICE if method == "PUT" else None
        answer = await api.request(method, f"{CUSTOMERS}/{customer_id}", json=body)
        check(answer, "customer_erased", ONE)


async def test_idempotency_keys_that_are_taken(api: httpx.AsyncClient, settings: Settings) -> None:
    key = {"Idempotency-Key": "k-1"}
    with connect_as_owner(settings, "test lock") as connection:
        # Nothing is appended while the append's lock is held.
        connection.execute("SELECT pg_advisory_lock(730541, %s)", [settings.log_id])
        first = asyncio.create_task(api.post(CUSTOMERS, json=ALICE, headers=key))

        async def waits() -> bool:
            row = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ).fetchone()
            return row is not None and row[0] == 1

        await until(waits)
        check(await api.post(CUSTOMERS, json=ALICE, headers=key), "request_in_progress")
        connection.execute("SELECT pg_advisory_unlock(730541, %s)", [settings.log_id])
        assert (await first).status_code == 200
    bob = {"email": "bob@example.com"}
    check(await api.post(CUSTOMERS, json=bob, headers=key), "idempotency_key_reused")


async def test_tokens_that_no_read_can_heed(api: httpx.AsyncClient, settings: Settings) -> None:
    token = (await api.post(CUSTOMERS, json=ALICE)).headers[TOKEN]
    # Nobody projects here.
    check(await api.get(CUSTOMERS, headers={TOKEN: token}), "not_shown_yet")
    tokens = Tokens(Sealer(read_master_keys(settings)), settings.log_id)
    lost = tokens.issue(ACME, generation=1, position=Position(1), chain=b"elsewise")
    for url, path in ((CUSTOMERS, CUSTOMERS), (NOBODY, ONE)):
        check(await api.get(url, headers={TOKEN: lost}), "lost_history", path)


async def test_a_database_that_is_away(settings: Settings) -> None:
    nowhere = make_conninfo(settings.database_url, port=1)
    async with running_api(replace(settings, database_url=nowhere)) as api:
        with_key(api, make_key(settings))
        check(await api.get(CUSTOMERS), "unavailable")


async def test_a_fault_of_ours(api: httpx.AsyncClient, settings: Settings) -> None:
    with connect_as_owner(settings, "test fault") as connection:
        connection.execute("DROP FUNCTION edition_1.list_tags")
    answer = await api.get(f"{CUSTOMERS}/tags", headers={"X-Request-Id": EXAMPLE_REQUEST_ID})
    check(answer, "internal", f"{CUSTOMERS}/tags")


async def test_pages_of_the_service_that_there_are_not(api: httpx.AsyncClient) -> None:
    check(await api.get("/problems/nothing"), "unknown_problem", "/problems/{code}")
    check(await api.get("/docs/nothing"), "nothing_here", "/docs/{name}")
