"""Every event is a CloudEvent by the SDK, and its data is as the schema that it names says."""

import re
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError

from command_side.customer import FIELDS
from events.cloudevent_schema import cloud_event_schema
from events.cloudevents import render_cloud_event
from events.customer import TAG_MAX, TAGS_MAX, CustomerData, PreviousData
from events.data_schema import ORIGIN_MAX, REQUEST_ID_MAX
from events.examples import example_event
from events.published_schemas import PUBLISHED, read_schema
from runtime.settings import Settings
from runtime.web import context, headers
from tests.support.api import CUSTOMERS, REFERENCE_CUSTOMER, make_key, running_api, with_key
from tests.support.cloud_events import broken_rules, read_by_sdk
from tests.support.evolution import golden_event

EVENTS = "/api/v1/external/events"
METHODS = ["GET", "HEAD"]
TRACED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def api(settings: Settings) -> AsyncGenerator[httpx.AsyncClient]:
    """A client with a key of the workspace acme."""
    async with running_api(settings) as client:
        yield with_key(client, make_key(settings))


def bodies() -> dict[str, bytes]:
    """The message of each version of each event there ever was, traced and not, and erased."""
    found: dict[str, bytes] = {}
    for event_type, version in PUBLISHED:
        stored = msgspec.structs.replace(
            example_event(event_type, "").stored, schema_version=version, metadata=b"{}"
        )
        traced = msgspec.structs.replace(stored, metadata=b'{"traceparent":"%b"}' % TRACED.encode())
        data, url = golden_event(event_type, version), Settings().public_url
        name = f"{event_type}.v{version}"
        found[name] = render_cloud_event(stored, data, url)
        found[f"{name} traced"] = render_cloud_event(traced, data, url)
        found[f"{name} erased"] = render_cloud_event(stored, None, url)
    return found


@pytest.mark.parametrize("name", bodies())
def test_the_sdk_reads_what_is_published_and_finds_every_attribute(name: str) -> None:
    body = bodies()[name]
    members: dict[str, Any] = msgspec.json.decode(body)

    event = read_by_sdk(body)

    assert event.get_specversion() == "1.0"
    assert event.get_data() == members.pop("data")
    time = event.get_time()
    assert time is not None
    assert time.isoformat() == members.pop("time").replace("Z", "+00:00")
    attributes = event.get_attributes()
    assert {attribute: attributes[attribute] for attribute in members} == members
    assert attributes.keys() == {*members, "time"}
    assert ("traceparent" in members) == name.endswith("traced")


def test_the_sdk_refuses_what_is_no_cloud_event() -> None:
    for name, wrong in (("Work-Space", "acme"), ("specversion", "2.0"), ("id", "")):
        members = msgspec.json.decode(bodies()["CustomerCreated.v1"]) | {name: wrong}
        with pytest.raises(Exception, match=name):
            read_by_sdk(msgspec.json.encode(members))


@pytest.mark.parametrize("name", bodies())
def test_names_and_values_of_our_attributes_are_those_that_cloudevents_allows(name: str) -> None:
    members: dict[str, Any] = msgspec.json.decode(bodies()[name])
    del members["data"]

    for attribute, value in members.items():
        assert re.fullmatch("[a-z0-9]{1,20}", attribute)
        assert isinstance(value, str) or -(2**31) <= value < 2**31
    assert httpx.URL(members["dataschema"]).is_absolute_url
    assert members["dataschema"].endswith(f"/schemas/{name.partition(' ')[0].replace('.v', '/')}")
    Draft202012Validator(cloud_event_schema()).validate(members | {"data": None})


@pytest.mark.parametrize(("event_type", "version"), PUBLISHED)
def test_events_stored_long_ago_are_as_the_schema_of_their_version_says(
    event_type: str, version: int
) -> None:
    schema = read_schema(event_type, version)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    validator.validate(msgspec.json.decode(golden_event(event_type, version)))
    for example in schema["examples"]:  # pyright: ignore[reportGeneralTypeIssues] - it is a list
        validator.validate(example)


async def test_what_can_be_written_at_its_limits_is_as_the_schema_says(
    api: httpx.AsyncClient,
) -> None:
    largest = {
        "email": f"{'a' * 64}@{'b' * 60}.{'c' * 60}.{'d' * 60}.test",
        "phone": "+123456789012345",
        "firstName": "\N{PILE OF POO}" * 300,
        "lastName": " ",
        "companyName": "c" * 500,
        "external_id": "\N{PILE OF POO}" * 255,
        "tags": [f"{number:03}" + "\N{PILE OF POO}" * (TAG_MAX - 3) for number in range(TAGS_MAX)],
        "custom_fields": {f"field {number}": [None, 1e400, {}] for number in range(100)},
        "communication_preferences": {"do_not_disturb": True},
    }
    text = msgspec.json.encode(largest).replace(b"null,null,{}", b"null,1e400,{}")
    said = {"X-Actor": "a" * ORIGIN_MAX, "X-Reason": "r" * ORIGIN_MAX}
    said |= {"X-Request-Id": "q" * REQUEST_ID_MAX, "Content-Type": "application/json"}
    made = await api.post(CUSTOMERS, content=text, headers=said)
    assert made.status_code == 200, made.text
    path = made.headers["location"]
    cleared = {"phone": None, "firstName": "", "external_id": None, "tags": []}
    cleared |= {"custom_fields": None, "communication_preferences": None}
    for answer in (
        await api.patch(path, json=cleared, headers={"traceparent": TRACED}),
        await api.patch(path, json={"phone": "+12", "email": None}),
        await api.delete(path),
        await api.post(f"{path}/restore"),
        await api.post(CUSTOMERS, json={"email": "\N{GREEK SMALL LETTER PI}@\u4f8b\u3048.test"}),
        await api.post(CUSTOMERS, json=REFERENCE_CUSTOMER),
    ):
        assert answer.status_code == 200, answer.text

    page = msgspec.json.decode((await api.get(EVENTS)).content, type=dict[str, msgspec.Raw])
    events = msgspec.json.decode(page["data"], type=list[msgspec.Raw])

    assert len(events) == 7
    for event in map(bytes, events):
        assert await broken_rules(api, event) == []
        read_by_sdk(event)
    assert b"1e400" in bytes(events[0])


@pytest.mark.parametrize(
    ("member", "wrong"),
    [
        ("email", "a" * 255),
        ("phone", "+1 555"),
        ("phone", "+1" + "5" * 15),
        ("first_name", "a" * 301),
        ("company_name", "a" * 501),
        ("external_id", ""),
        ("external_id", 7),
        ("tags", None),
        ("tags", ["a,b"]),
        ("tags", ["a", "a"]),
        ("tags", [""]),
        ("tags", ["a" * 101]),
        ("tags", [str(number) for number in range(101)]),
        ("custom_fields", None),
        ("custom_fields", {str(number): 1 for number in range(101)}),
        ("communication_preferences", {"sms": None}),
        ("communication_preferences", {"fax": "yes"}),
    ],
)
@pytest.mark.parametrize("part", ["customer", "previous"])
def test_the_schema_refuses_what_can_never_be_in_an_event(
    part: str, member: str, wrong: object
) -> None:
    validator = Draft202012Validator(read_schema("CustomerUpdated", 1))
    event = msgspec.json.decode(golden_event("CustomerUpdated", 1))
    validator.validate(event)

    event[part][member] = wrong

    with pytest.raises(ValidationError):
        validator.validate(event)


def test_every_field_is_described_and_the_limits_are_those_of_the_requests() -> None:
    members: Any = read_schema("CustomerUpdated", 1)["properties"]

    assert set(members["customer"]["properties"]) == set(CustomerData.__struct_fields__)
    assert set(members["customer"]["required"]) == set(FIELDS)
    assert set(members["previous"]["properties"]) == set(PreviousData.__struct_fields__)
    assert members["actor"]["maxLength"] == members["reason"]["maxLength"] == context.LONGEST
    assert members["request_id"]["maxLength"] == headers.REQUEST_ID_MAX


async def test_each_schema_is_served_where_events_say_and_knows_its_address(
    settings: Settings,
) -> None:
    there = msgspec.structs.replace(settings, public_url="https://customers.example.com/base/")
    async with running_api(there) as client:
        index = (await client.get("/schemas")).json()["schemas"]
        served = [await client.get(f"/schemas/{name}/{version}") for name, version in PUBLISHED]

    assert [(entry["type"], entry["version"]) for entry in index] == list(PUBLISHED)
    for entry, answer, (event_type, version) in zip(index, served, PUBLISHED, strict=True):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/schema+json"
        assert answer.headers["cache-control"] == "public, max-age=86400"
        url = f"https://customers.example.com/base/schemas/{event_type}/{version}"
        assert answer.json()["$id"] == entry["url"] == url
        assert answer.json().items() > read_schema(event_type, version).items()
        stored = msgspec.structs.replace(
            example_event(event_type, "").stored, schema_version=version
        )
        event = msgspec.json.decode(render_cloud_event(stored, None, there.public_url))
        assert event["dataschema"] == url


@pytest.mark.parametrize("side", ["command", "query"])
@pytest.mark.parametrize("path", ["/schemas", "/schemas/CustomerCreated/1", "/asyncapi.json"])
async def test_whichever_side_a_process_serves_it_says_this_to_everybody(
    settings: Settings, side: Any, path: str
) -> None:
    async with running_api(settings, side) as client:
        answers = [await client.request(method, path) for method in METHODS]
        known = await client.get(path, headers={"If-None-Match": answers[0].headers["etag"]})
        other = await client.get(path, headers={"If-None-Match": '"other"'})

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].content == b""
    assert answers[0].headers["etag"] == answers[1].headers["etag"]
    assert (known.status_code, known.content) == (304, b"")
    assert known.headers["cache-control"] == answers[0].headers["cache-control"]
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("CustomerCreated/2", "CustomerCreated/0", "CustomerCreated/01", "CustomerCreated/1.0"),
        *("customercreated/1", "CustomerRenamed/1", "..%2FCustomerCreated/1", "CustomerCreated/"),
        *("CustomerCreated", "CustomerCreated/1/2", "%00/1"),
        *("CustomerCreated/1%2f", "CustomerCreated/%2F1", "CustomerCreated%2F1"),
    ],
)
async def test_a_schema_that_is_not_published_is_404_in_the_envelope(
    api: httpx.AsyncClient, path: str
) -> None:
    answer = await api.get(f"/schemas/{path}")

    assert answer.status_code == 404
    assert answer.json()["success"] is False
    assert answer.json()["type"] == "/problems/not_found"
    assert answer.headers["cache-control"] == "no-store"
