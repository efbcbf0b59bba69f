"""Every failure is answered in the words of its example, with the headers and members described."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from psycopg.conninfo import make_conninfo
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from events.envelope import Position
from events.feed import FeedPlace
from events.keys import Keyring
from events.log import LogReader, PostgresLog
from events.token import Tokens
from query_side.cursors import Cursors
from query_side.feed_cursors import FeedCursors
from query_side.past_cursors import PlaceInPast
from runtime.documents import api_document
from runtime.postgres import connect_as_owner
from runtime.sealing import Sealer
from runtime.settings import Settings, read_master_keys
from runtime.web.json_body import BULK_LIMIT, OBJECT_LIMIT
from runtime.web.openapi.kit import EXAMPLE_REQUEST_ID
from tests.support.api import CUSTOMERS, make_key, running_api, with_key
from tests.support.builders import ACME
from tests.support.feed import EVENTS, STREAM
from tests.support.signals import until
from tests.support.writing import NOBODY, create, erase

DOCUMENT: dict[str, Any] = msgspec.json.decode(api_document())
REGISTRY = Registry().with_resource("urn:api", DRAFT202012.create_resource(DOCUMENT))
SENT_BY_THE_SERVER = {"content-type", "content-length", "date"}
ONE = f"{CUSTOMERS}/{{customer_id}}"
EXTERNAL = f"{CUSTOMERS}/external/{{external_id}}"
BULK = f"{CUSTOMERS}/bulk"
ALICE = {"email": "alice@example.com"}
TEXT = {"Content-Type": "text/plain"}
TOKEN = "X-Consistency-Token"
VARYING = {"instance", "meta", "existing_id"}
EXAMPLES = sorted(
    {
        name
        for answer in DOCUMENT["components"]["responses"].values()
        for name in answer.get("content", {}).get("application/json", {}).get("examples", {})
    }
)


class Failing(NamedTuple):
    """What a failure is made of."""

    api: httpx.AsyncClient
    settings: Settings
    postgres_log: PostgresLog
    log_reader: LogReader
    keyring: Keyring


Answers = list[tuple[httpx.Response, str]]
Maker = Callable[[Failing], Awaitable[Answers]]
"""Makes one failure in every way that matters: the answers, each with its path in the document."""

MAKERS: dict[str, Maker] = {}


async def ask(api: httpx.AsyncClient, methods: tuple[str, ...], url: str, path: str) -> Answers:
    """The answer to each method, with a body where it takes one."""
    return [
        (
            await api.request(method, url, json=None if method in {"GET", "DELETE"} else ALICE),
            path,
        )
        for method in methods
    ]


def makes(name: str) -> Callable[[Maker], Maker]:
    """Says of which example a function makes the failure."""

    def keep(maker: Maker) -> Maker:
        assert name not in MAKERS
        MAKERS[name] = maker
        return maker

    return keep


@makes("invalid_key")
async def without_a_key(at: Failing) -> Answers:
    return [(await at.api.get(CUSTOMERS, headers={"X-Api-Key": ""}), CUSTOMERS)]


@makes("missing_scope.write")
async def with_a_key_to_read(at: Failing) -> Answers:
    key = {"X-Api-Key": make_key(at.settings, "acme", "customers:read")}
    return [(await at.api.post(CUSTOMERS, json=ALICE, headers=key), CUSTOMERS)]


@makes("missing_scope.read")
async def with_a_key_to_write(at: Failing) -> Answers:
    key = {"X-Api-Key": make_key(at.settings, "acme", "customers:write")}
    return [(await at.api.get(CUSTOMERS, headers=key), CUSTOMERS)]


@makes("missing_scope.erase")
async def with_a_key_that_may_not_erase(at: Failing) -> Answers:
    key = {"X-Api-Key": make_key(at.settings, "acme", "customers:read", "customers:write")}
    path = f"{NOBODY}/personal-data"
    return [(await at.api.delete(path, headers=key), f"{ONE}/personal-data")]


@makes("rate_limited")
async def asked_too_often(at: Failing) -> Answers:
    async with running_api(replace(at.settings, rate_limit=1)) as api:
        with_key(api, make_key(at.settings))
        await api.post(CUSTOMERS, json=ALICE)
        return [(await api.post(CUSTOMERS, json=ALICE), CUSTOMERS)]


@makes("body_too_long")
async def a_long_body(at: Failing) -> Answers:
    long = {"email": "a" * OBJECT_LIMIT}
    return [(await at.api.post(CUSTOMERS, json=long), CUSTOMERS)]


@makes("event_too_large")
async def a_customer_that_no_event_can_hold(at: Failing) -> Answers:
    big = ALICE | {"custom_fields": {"text": "a" * 10_000}}
    async with running_api(replace(at.settings, nats_max_payload=8192)) as api:
        with_key(api, make_key(at.settings))
        one = f"{CUSTOMERS}/{await create(api)}"
        external = f"{CUSTOMERS}/external/cust-001"
        return [
            (await api.post(CUSTOMERS, json=big), CUSTOMERS),
            (await api.put(one, json=big), ONE),
            (await api.patch(one, json=big), ONE),
            (await api.put(external, json=big), EXTERNAL),
        ]


@makes("bulk_too_long")
async def a_long_bulk_body(at: Failing) -> Answers:
    return [(await at.api.post(BULK, json=["a" * BULK_LIMIT]), BULK)]


@makes("not_json")
async def a_body_of_text(at: Failing) -> Answers:
    one = f"{CUSTOMERS}/{await create(at.api)}"
    return [
        (await at.api.post(CUSTOMERS, content=b"{}", headers=TEXT), CUSTOMERS),
        (await at.api.put(one, content=b"{}", headers=TEXT), ONE),
    ]


@makes("not_a_patch")
async def a_patch_of_text(at: Failing) -> Answers:
    one = f"{CUSTOMERS}/{await create(at.api)}"
    return [(await at.api.patch(one, content=b"{}", headers=TEXT), ONE)]


@makes("row_count")
async def no_rows(at: Failing) -> Answers:
    return [(await at.api.post(BULK, json=[]), BULK)]


@makes("invalid_fields")
async def wrong_fields(at: Failing) -> Answers:
    wrong = {"email": "nobody", "phone": 15550001234}
    return [(await at.api.post(CUSTOMERS, json=wrong), CUSTOMERS)]


@makes("malformed_id")
async def a_malformed_id(at: Failing) -> Answers:
    return await ask(at.api, ("GET", "PUT", "PATCH", "DELETE"), f"{CUSTOMERS}/4711", ONE)


@makes("malformed_external_id")
async def a_malformed_external_id(at: Failing) -> Answers:
    return await ask(at.api, ("GET", "PUT", "DELETE"), f"{CUSTOMERS}/external/%00", EXTERNAL)


@makes("page_out_of_range")
async def a_page_that_there_cannot_be(at: Failing) -> Answers:
    query = "?page=0&per_page=101"
    return [(await at.api.get(f"{path}{query}"), path) for path in (CUSTOMERS, f"{CUSTOMERS}/tags")]


@makes("external_id_taken")
async def a_taken_external_id(at: Failing) -> Answers:
    await create(at.api, external_id="cust-001")
    body = ALICE | {"external_id": "cust-001"}
    return [(await at.api.post(CUSTOMERS, json=body), CUSTOMERS)]


@makes("version_mismatch")
async def another_version(at: Failing) -> Answers:
    one = f"{CUSTOMERS}/{await create(at.api, external_id='cust-001')}"
    await at.api.put(one, json={"firstName": "Jane"})
    if_first, if_none = {"If-Match": '"1"'}, {"If-None-Match": "*"}
    external = f"{CUSTOMERS}/external/cust-001"
    return [
        (await at.api.put(one, json=ALICE, headers=if_first), ONE),
        (await at.api.delete(one, headers=if_first), ONE),
        (await at.api.put(external, json=ALICE, headers=if_none), EXTERNAL),
    ]


@makes("customer_not_found")
async def nobody(at: Failing) -> Answers:
    history = f"{NOBODY}/history", f"{ONE}/history"
    return [
        *await ask(at.api, ("GET", "PUT", "PATCH", "DELETE"), NOBODY, ONE),
        *await ask(at.api, ("GET",), *history),
    ]


@makes("external_id_not_found")
async def nobody_of_this_external_id(at: Failing) -> Answers:
    return await ask(at.api, ("GET", "DELETE"), f"{CUSTOMERS}/external/nobody", EXTERNAL)


@makes("customer_erased")
async def an_erased_customer(at: Failing) -> Answers:
    customer_id = await create(at.api)
    await erase(at.postgres_log, at.log_reader, at.keyring, customer_id)
    return await ask(at.api, ("GET", "PUT", "DELETE"), f"{CUSTOMERS}/{customer_id}", ONE)


@makes("request_in_progress")
async def a_key_whose_request_still_runs(at: Failing) -> Answers:
    key, log = {"Idempotency-Key": "k-1"}, [at.settings.log_id]
    with connect_as_owner(at.settings, "test lock") as connection:
        # Nothing is appended while the append's lock is held.
        connection.execute("SELECT pg_advisory_lock(730541, %s)", log)
        first = asyncio.create_task(at.api.post(CUSTOMERS, json=ALICE, headers=key))

        async def waits() -> bool:
            row = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ).fetchone()
            return row is not None and row[0] == 1

        await until(waits)
        second = await at.api.post(CUSTOMERS, json=ALICE, headers=key)
        connection.execute("SELECT pg_advisory_unlock(730541, %s)", log)
        assert (await first).status_code == 200
    return [(second, CUSTOMERS)]


@makes("idempotency_key_reused")
async def a_key_with_another_body(at: Failing) -> Answers:
    key = {"Idempotency-Key": "k-1"}
    await at.api.post(CUSTOMERS, json=ALICE, headers=key)
    bob = {"email": "bob@example.com"}
    return [(await at.api.post(CUSTOMERS, json=bob, headers=key), CUSTOMERS)]


@makes("not_shown_yet")
async def a_token_of_what_nobody_projects(at: Failing) -> Answers:
    token = (await at.api.post(CUSTOMERS, json=ALICE)).headers[TOKEN]
    return [(await at.api.get(CUSTOMERS, headers={TOKEN: token}), CUSTOMERS)]


@makes("lost_history")
async def a_token_of_another_history(at: Failing) -> Answers:
    await create(at.api)
    tokens = Tokens(Sealer(read_master_keys(at.settings)), at.settings.log_id)
    lost = {TOKEN: tokens.issue(ACME, generation=1, position=Position(1), chain=b"elsewise")}
    return [
        (await at.api.get(url, headers=lost), path)
        for url, path in (
            *((CUSTOMERS, CUSTOMERS), (NOBODY, ONE), (f"{NOBODY}/history", f"{ONE}/history")),
            *((EVENTS, EVENTS), (STREAM, STREAM)),
        )
    ]


@makes("events_out_of_range")
async def more_events_than_a_page_has(at: Failing) -> Answers:
    return [(await at.api.get(f"{EVENTS}?limit=501&wait=31"), EVENTS)]


@makes("no_feed_cursor")
async def after_nothing(at: Failing) -> Answers:
    return [(await at.api.get(f"{path}?after=nothing"), path) for path in (EVENTS, STREAM)]


@makes("lost_place")
async def a_cursor_of_another_history(at: Failing) -> Answers:
    await create(at.api)
    place = FeedPlace(sequence=1, chain=b"elsewise")
    lost = FeedCursors(at.settings.log_id).write(ACME, place)
    return [(await at.api.get(f"{path}?after={lost}"), path) for path in (EVENTS, STREAM)]


@makes("history_out_of_range")
async def more_of_a_history_than_a_page_has(at: Failing) -> Answers:
    one = f"{CUSTOMERS}/{await create(at.api)}"
    return [(await at.api.get(f"{one}/history?limit=501"), f"{ONE}/history")]


@makes("customer_not_then")
async def nobody_before_there_was_anybody(at: Failing) -> Answers:
    return [(await at.api.get(f"{CUSTOMERS}/{await create(at.api)}?as_of=2"), ONE)]


@makes("moment_to_come")
async def what_will_be(at: Failing) -> Answers:
    one = f"{CUSTOMERS}/{await create(at.api)}"
    query = "?as_of=9999-01-01T00:00:00Z"
    return [
        (await at.api.get(f"{url}{query}"), path) for url, path in ((one, ONE), (CUSTOMERS,) * 2)
    ]


@makes("lost_list")
async def a_list_of_another_history(at: Failing) -> Answers:
    cursor = {"per_page": "1", "as_of": "2026-01-01T00:00:00.000000Z"}
    place = PlaceInPast(moment=FeedPlace(sequence=1, chain=b"elsewise"), before=1)
    then = datetime(2026, 1, 1, tzinfo=UTC)
    cursors = Cursors(Sealer(read_master_keys(at.settings)))
    cursor["cursor"] = cursors.write(ACME, place.cursor(then))
    return [(await at.api.get(CUSTOMERS, params=cursor), CUSTOMERS)]


@makes("access_not_recorded")
async def a_read_that_cannot_be_recorded(at: Failing) -> Answers:
    one = f"{CUSTOMERS}/{await create(at.api)}"
    with connect_as_owner(at.settings, "test accesses") as owner:
        owner.execute("REVOKE EXECUTE ON FUNCTION control.record_access FROM customers_api")
    return [
        (await at.api.get(f"{one}/history"), f"{ONE}/history"),
        (await at.api.get(f"{one}?as_of=1"), ONE),
        (await at.api.get(f"{CUSTOMERS}?as_of=2026-01-01T00:00:00Z"), CUSTOMERS),
    ]


@makes("unavailable")
async def a_database_that_is_away(at: Failing) -> Answers:
    nowhere = make_conninfo(at.settings.database_url, port=1)
    async with running_api(replace(at.settings, database_url=nowhere)) as api:
        with_key(api, make_key(at.settings))
        return [(await api.get(CUSTOMERS), CUSTOMERS)]


@makes("internal")
async def a_fault_of_ours(at: Failing) -> Answers:
    with connect_as_owner(at.settings, "test fault") as connection:
        connection.execute("DROP FUNCTION edition_1.list_tags")
    tags = f"{CUSTOMERS}/tags"
    return [(await at.api.get(tags, headers={"X-Request-Id": EXAMPLE_REQUEST_ID}), tags)]


@makes("unknown_problem")
async def a_problem_that_there_is_not(at: Failing) -> Answers:
    return [(await at.api.get("/problems/nothing"), "/problems/{code}")]


@makes("unknown_schema")
async def a_schema_that_there_is_not(at: Failing) -> Answers:
    return [(await at.api.get("/schemas/Nothing/1"), "/schemas/{event_type}/{version}")]


@makes("wrong_metrics_token")
async def metrics_without_their_token(at: Failing) -> Answers:
    async with running_api(replace(at.settings, metrics_token="secret")) as api:
        return [(await api.get("/metrics"), "/metrics")]


@makes("no_head")
async def a_head_where_none_is_published(at: Failing) -> Answers:
    return [(await at.api.get("/log/head"), "/log/head")]


@makes("nothing_here")
async def a_file_that_there_is_not(at: Failing) -> Answers:
    return [(await at.api.get("/docs/nothing"), "/docs/{name}")]


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
    said = {name: said for name, said in failure.items() if name not in VARYING}
    if failure["type"] == "/problems/rate_limited":
        # How many, and when again, is not always the same.
        said |= {name: re.sub("[0-9]+", "n", said[name]) for name in ("message", "detail")}
    return said


@pytest.fixture
async def failing(
    settings: Settings, postgres_log: PostgresLog, log_reader: LogReader, keyring: Keyring
) -> AsyncGenerator[Failing]:
    """An API that waits for nobody, with a key of one workspace, and the log behind it."""
    async with running_api(replace(settings, read_wait=0.05)) as client:
        api = with_key(client, make_key(settings))
        yield Failing(api, settings, postgres_log, log_reader, keyring)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_a_failure_is_answered_in_the_words_of_its_example(
    failing: Failing, name: str
) -> None:
    answers = await MAKERS[name](failing)
    assert answers
    for answer, path in answers:
        assert stable(answer.json()) == stable(described(answer, path)[name])


def test_no_failure_is_made_that_is_not_in_the_document() -> None:
    assert sorted(MAKERS) == EXAMPLES


async def test_a_body_that_is_compressed_is_refused_as_described(failing: Failing) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await failing.api.post(CUSTOMERS, content=b"{}", headers=headers)
    assert answer.status_code == 415
    described(answer)


async def test_what_is_refused_under_strict_handling_is_as_described(failing: Failing) -> None:
    strict = {"Prefer": "handling=strict"}
    answer = await failing.api.post(CUSTOMERS, json=ALICE | {"id": 1}, headers=strict)
    assert answer.status_code == 400
    described(answer)
