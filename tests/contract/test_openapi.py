"""`/openapi.json` describes exactly the routes there are, and every example in it is valid."""

import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from litestar.handlers import HTTPRouteHandler
from msgspec import structs
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from command_side.openapi import DESCRIPTION as COMMANDS
from events.published_schemas import PUBLISHED
from query_side.openapi import DESCRIPTION as QUERIES
from runtime.documents import api_document
from runtime.processes import api_app
from runtime.published_heads import log_head_part
from runtime.settings import Settings
from runtime.web.envelope import BASE_PATH
from runtime.web.openapi.document import describe
from runtime.web.openapi.event_docs import describe_event_docs
from runtime.web.openapi.kit import Description
from runtime.web.openapi.metrics import DESCRIPTION as METRICS
from runtime.web.openapi.service import SERVICE
from runtime.web.problem_types import PROBLEMS
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key

GOLDEN = Path(__file__).parent.parent / "golden" / "openapi.json"
RENEW = "customers openapi >tests/golden/openapi.json"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
DOCUMENT: dict[str, Any] = msgspec.json.decode(api_document())
REGISTRY = Registry().with_resource("urn:api", DRAFT202012.create_resource(DOCUMENT))


@pytest.fixture
async def client(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the API, without a key."""
    async with running_api(settings) as api:
        yield api


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of every call in the document."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def resolved(said: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    while "$ref" in said:
        found: Any = DOCUMENT
        for step in said["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        said = found
    return said


def examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every example of the document: where it stands, its schema and its value."""
    for path, method, operation in operations():
        place = f"{method} {path}"
        for parameter in map(resolved, operation["parameters"]):
            schema = parameter["schema"]
            told = [parameter["example"]] if "example" in parameter else []
            for example in [*told, *schema.get("examples", [])]:
                yield f"{place} {parameter['name']}", schema, example
        answers = [answer for answer in operation["responses"].values() if "$ref" not in answer]
        for body in [*answers, operation.get("requestBody", {})]:
            yield from contents(place, body)
    for name, answer in DOCUMENT["components"]["responses"].items():
        yield from contents(name, answer)


def contents(place: str, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """The examples of one body."""
    for media_type, content in body.get("content", {}).items():
        for name, example in content.get("examples", {}).items():
            yield f"{place} {media_type} {name}", content["schema"], example["value"]


async def test_the_service_answers_the_document_and_knows_it_by_its_etag(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/openapi.json")
    known = await client.get("/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
    head = await client.head("/openapi.json")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == DOCUMENT
    assert (known.status_code, known.content) == (304, b"")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == answer.headers["etag"]


async def test_it_names_every_route_with_its_methods_and_scope_and_no_other(
    settings: Settings,
) -> None:
    routes: set[tuple[str, str, str | None, str]] = set()
    async with api_app(settings) as app:
        for route in app.routes:
            path = str(route.path_format)
            # The same as with an external_id: it answers that none was sent.
            if path == f"{BASE_PATH}/customers/external":
                continue
            for handler in getattr(route, "route_handlers", []):
                assert isinstance(handler, HTTPRouteHandler)
                for method in METHODS & set(map(str, handler.http_methods)):
                    routes.add((path, method, handler.opt.get("scope"), handler.fn.__name__))

    described = {
        (
            path,
            method,
            operation["security"][0]["ApiKey"][0] if operation["security"] else None,
            operation["operationId"].removeprefix("head_" if method == "HEAD" else ""),
        )
        for path, method, operation in operations()
    }
    assert described == routes
    assert len({operation["operationId"] for _, _, operation in operations()}) == len(described)


def test_nothing_is_described_that_is_not_there() -> None:
    event_docs = describe_event_docs(PUBLISHED, "application/schema+json")
    log_head = log_head_part(Settings(), None).description
    parts = (COMMANDS, QUERIES, SERVICE, event_docs, log_head, METRICS)
    described = {name for part in parts for name in part.operations}
    assert described == {
        operation["operationId"] for _, method, operation in operations() if method != "HEAD"
    }


@pytest.mark.parametrize("part", ["schemas", "parameters"])
def test_two_that_describe_the_same_differently_are_a_contradiction(part: str) -> None:
    said = [
        structs.replace(Description(), **{part: {"Thing": {"type": type_}}})
        for type_ in ("string", "string", "array")
    ]
    assert describe([], said[:2])["components"]
    with pytest.raises(ValueError, match="Thing"):
        describe([], said)


def test_it_is_valid_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


@pytest.mark.parametrize(
    ("place", "schema", "value"), [pytest.param(*found, id=found[0]) for found in examples()]
)
def test_every_example_is_as_its_schema_says(
    place: str, schema: dict[str, Any], value: Any
) -> None:
    text = msgspec.json.encode(schema).decode().replace('"#/', '"urn:api#/')
    validator = Draft202012Validator(
        msgspec.json.decode(text), registry=REGISTRY, format_checker=FormatChecker()
    )
    assert [error.message for error in validator.iter_errors(value)] == []


def test_the_examples_are_those_of_the_published_reference() -> None:
    create = DOCUMENT["paths"][f"{BASE_PATH}/customers"]["post"]
    sent = create["requestBody"]["content"]["application/json"]["examples"]["reference"]["value"]
    answer = create["responses"]["200"]["content"]["application/json"]
    told = answer["examples"]["reference"]["value"]

    assert sent == REFERENCE_CUSTOMER
    assert (told["success"], told["status_code"]) == (True, 200)
    assert told["message"] == "Customer created successfully"
    snake = {"firstName": "first_name", "lastName": "last_name", "companyName": "company_name"}
    expected = {snake.get(name, name): value for name, value in REFERENCE_CUSTOMER.items()}
    assert {name: told["data"][name] for name in expected} == expected


def test_every_call_with_a_key_tells_of_every_failure_that_any_key_may_meet() -> None:
    for path, method, operation in operations():
        if operation["security"]:
            statuses = set(operation["responses"])
            assert statuses >= {"400", "401", "403", "429", "500", "503"}, f"{method} {path}"


def test_every_kind_of_problem_has_an_example() -> None:
    text = msgspec.json.encode(DOCUMENT["components"]["responses"]).decode()
    told = set(re.findall(r'"type":"/problems/(\w+)"', text))
    # A method that is not allowed has no operation of its own, nor has what never came whole.
    assert told == set(PROBLEMS) - {"method_not_allowed", "request_timeout"}


def test_every_link_leads_to_a_call_and_names_parameters_that_it_has() -> None:
    parameters = {
        operation["operationId"]: {
            resolved(parameter)["name"] for parameter in operation["parameters"]
        }
        for _, _, operation in operations()
    }
    for _, _, operation in operations():
        for link in operation["responses"]["200"].get("links", {}).values():
            names = {name.removeprefix("header.") for name in link["parameters"]}
            assert names <= parameters[link["operationId"]]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "If-Match",
            [
                *("*", '"1"', 'W/"1"', '"1","2"', '"2",,"1"', ', "1"', '"3",', '"a,b" ,\t"c" , ,'),
                *("1", '"1', '"1" "2"', "*,*", '*, "1"', ",", '"a"b"', "W/1", 'w/"1"'),
            ],
        ),
        (
            "Idempotency-Key",
            [
                *("a", "a b", "order 4711: 1", 'a"b', '"a b"', r'"a\"b\\"', '" "', "k" * 255),
                *('"', '""', '"a', '"a"b', '"a"b"', r'"a\b"', "a\tb", "k" * 256, f'"{"k" * 256}"'),
            ],
        ),
    ],
)
async def test_a_header_is_taken_when_it_is_as_the_document_says_and_else_refused(
    settings: Settings, name: str, values: list[str]
) -> None:
    pattern = DOCUMENT["components"]["parameters"][name]["schema"]["pattern"]
    as_described = [re.search(pattern, value) is not None for value in values]
    async with running_api(settings, "command") as api:
        with_key(api, make_key(settings))
        created = await api.post(CUSTOMERS, json=REFERENCE_CUSTOMER)
        answers = [
            await api.put(created.headers["location"], json={}, headers={name: value})
            for value in values
        ]

    assert [answer.status_code in {200, 412} for answer in answers] == as_described
    assert {answer.status_code for answer in answers} <= {200, 400, 412}
    assert set(as_described) == {True, False}


async def test_a_name_in_custom_fields_may_hold_a_tab_or_a_line_end(settings: Settings) -> None:
    fields = {"a\tb": None, "c\nd": {"e\tf": [1]}}
    schema = {"$ref": "urn:api#/components/schemas/NewCustomer"}
    body = REFERENCE_CUSTOMER | {"custom_fields": fields, "un\tknown": {"g\nh": "i\tj"}}
    async with running_api(settings, "command") as api:
        answer = await with_key(api, make_key(settings)).post(CUSTOMERS, json=body)

    assert answer.status_code == 200
    assert answer.json()["data"]["custom_fields"] == fields
    Draft202012Validator(schema, registry=REGISTRY).validate(body)


async def test_a_process_of_one_side_describes_what_it_serves(settings: Settings) -> None:
    async with running_api(settings, "query") as reads, running_api(settings, "command") as writes:
        read = (await reads.get("/openapi.json")).json()
        written = (await writes.get("/openapi.json")).json()

    assert set(read["paths"][f"{BASE_PATH}/customers"]) == {"get", "head"}
    assert set(written["paths"][f"{BASE_PATH}/customers"]) == {"post"}
    for document in (read, written):
        assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_the_document_is_the_one_that_was_agreed_to() -> None:
    """Whoever changes it sees in the commit what callers will see."""
    assert api_document().decode() == GOLDEN.read_text(encoding="utf-8"), f"if meant: {RENEW}"
