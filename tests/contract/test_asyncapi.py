"""`/asyncapi.json` describes exactly what is published, and every example in it is valid."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import nats
import pytest
from jsonschema import Draft7Validator, FormatChecker, ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT7

from events import jetstream
from events.cloudevents import CONTENT_TYPE, CloudEvent
from events.customer import EVENT_TYPES, CustomerDeleted, CustomerErased
from events.envelope import CustomerId, WorkspaceId
from events.keys import Keyring
from events.log import PostgresLog
from events.published_schemas import PUBLISHED, read_schema
from query_side import feed_routes
from runtime.documents import events_document
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from tests.support.api import running_api
from tests.support.builders import JANE, Writer
from tests.support.cloud_events import read_by_sdk
from tests.support.relaying import published, relaying

GOLDEN = Path(__file__).parent.parent / "golden" / "asyncapi.json"
RENEW = "customers asyncapi >tests/golden/asyncapi.json"
DOCUMENT: dict[str, Any] = msgspec.json.decode(events_document(Settings().public_url))
CHANNEL: dict[str, Any] = DOCUMENT["channels"]["customers"]
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
REGISTRY = Registry().with_resource("urn:events", DRAFT7.create_resource(DOCUMENT))


def validator(schema: Any) -> Draft7Validator:
    """Judges by a schema of the document."""
    text = msgspec.json.encode(schema).decode().replace('"#/', '"urn:events#/')
    # What AsyncAPI calls a schema is one of draft 7, and so are ours.
    return Draft7Validator(
        msgspec.json.decode(text), registry=REGISTRY, format_checker=FormatChecker()
    )


def references(value: Any) -> Iterator[str]:
    """Every `$ref` below a value."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "$ref":
                yield member
            yield from references(member)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def found(reference: str) -> Any:
    """What a reference leads to."""
    value: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        value = value[step]
    return value


async def test_the_service_answers_the_document_with_its_own_address(settings: Settings) -> None:
    there = msgspec.structs.replace(settings, public_url="https://customers.example.com/base")
    async with running_api(there) as api:
        answer = await api.get("/asyncapi.json")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == msgspec.json.decode(events_document(there.public_url))
    assert answer.json()["servers"]["http"] == DOCUMENT["servers"]["http"] | {
        "host": "customers.example.com",
        "protocol": "https",
        "pathname": "/base/",
    }


def test_the_document_is_the_one_that_was_agreed_to() -> None:
    """Whoever changes it sees in the commit what subscribers will see."""
    printed = events_document(Settings().public_url).decode()
    assert printed == GOLDEN.read_text(encoding="utf-8"), f"if meant: {RENEW}"


def test_every_reference_leads_somewhere_and_nothing_is_described_that_nobody_refers_to() -> None:
    named = set(references(DOCUMENT))
    for reference in named:
        assert found(reference) is not None

    for kind, parts in DOCUMENT["components"].items():
        assert {f"#/components/{kind}/{name}" for name in parts} <= named
    assert {f"#/channels/{name}" for name in DOCUMENT["channels"]} <= named
    assert {f"#/servers/{name}" for name in DOCUMENT["servers"]} <= named
    for name, channel in DOCUMENT["channels"].items():
        assert {f"#/channels/{name}/messages/{message}" for message in channel["messages"]} <= named


def test_the_address_and_the_stream_are_those_of_the_relay() -> None:
    customer = CustomerId(UUID(int=0x2A))
    told: list[str] = []
    for event_type, action in jetstream.ACTIONS.items():
        parts = {"log": 7, "generation": 3, "workspace": "acme", "partition": "2a"}
        told.append(CHANNEL["address"].format(**parts, action=action))
        real = jetstream.event_subject(7, 3, WorkspaceId("acme"), customer, event_type)
        assert told[-1] == real

    assert set(CHANNEL["parameters"]) == set(re.findall(r"{(\w+)}", CHANNEL["address"]))
    assert CHANNEL["parameters"]["action"]["enum"] == list(jetstream.ACTIONS.values())
    for place in (CHANNEL, DOCUMENT["servers"]["nats"]):
        (stream,) = re.findall(r"stream `(\S+)`", place["description"])
        assert stream.format(log=7, generation=3) == jetstream.stream_name(7, 3)
    assert set(CHANNEL["messages"]) == set(EVENT_TYPES) == set(jetstream.ACTIONS)


def test_the_feed_is_where_the_document_says() -> None:
    assert f"`GET {feed_routes.EVENTS}`" in DOCUMENT["info"]["description"]
    assert DOCUMENT["channels"]["stream"]["address"] == feed_routes.STREAM


def test_pings_between_our_own_processes_are_nobodys_business() -> None:
    text = GOLDEN.read_text(encoding="utf-8")
    for ping in (jetstream.appended_ping(1), jetstream.projected_ping(1)):
        assert ping.partition(".")[0] not in text


@pytest.mark.parametrize(("event_type", "version"), PUBLISHED)
def test_the_data_of_a_message_is_as_the_served_schema_says(event_type: str, version: int) -> None:
    told = DOCUMENT["components"]["schemas"][f"{event_type}DataV{version}"]
    served = read_schema(event_type, version)

    assert told == {name: served[name] for name in served if name not in ("$schema", "examples")}
    payload = DOCUMENT["components"]["schemas"][event_type]["properties"]
    assert set(payload) == {field.encode_name for field in msgspec.structs.fields(CloudEvent)}
    reference = {"$ref": f"#/components/schemas/{event_type}DataV{version}"}
    assert reference in payload["data"]["anyOf"]


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_schema_is_one_also_to_those_who_know_draft_7_only(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    Draft7Validator.check_schema(schema)
    keywords = set(re.findall(r'"(\$\w+|[a-z]+[A-Z]\w+)":', msgspec.json.encode(schema).decode()))

    assert keywords <= {"$ref", *Draft7Validator.VALIDATORS}


@pytest.mark.parametrize(
    ("name", "example"),
    [
        pytest.param(name, example, id=f"{name} {example['name']}")
        for name, message in MESSAGES.items()
        for example in message["examples"]
    ],
)
def test_every_example_is_as_its_message_says(name: str, example: Any) -> None:
    message = MESSAGES[name]
    validator(message["payload"]).validate(example["payload"])
    if "headers" in message:
        validator(message["headers"]).validate(example["headers"])
    if name != "LostHistory":
        read_by_sdk(msgspec.json.encode(example["payload"]))
        assert message["contentType"] == CONTENT_TYPE


def test_every_message_has_an_example_of_an_event_and_of_a_tombstone_if_there_can_be_one() -> None:
    for event_type in EVENT_TYPES:
        data = [example["payload"]["data"] for example in MESSAGES[event_type]["examples"]]
        assert data[0] is not None
        assert data[1:] == ([] if event_type == "CustomerErased" else [None])


@pytest.mark.parametrize(
    ("member", "wrong"),
    [
        ("type", "CustomerRenamed"),
        ("dataschema", "https://customers.example.com/schemas/CustomerCreated/2"),
        ("dataschema", "https://customers.example.com/schemas/CustomerUpdated/1"),
        ("sequence", "17"),
        ("streamversion", 0),
        ("workspace", "Acme"),
        ("data", {}),
        ("data", "text"),
    ],
)
def test_the_document_says_what_no_message_can_be(member: str, wrong: object) -> None:
    message = MESSAGES["CustomerCreated"]
    payload = message["examples"][0]["payload"] | {member: wrong}

    with pytest.raises(ValidationError):
        validator(message["payload"]).validate(payload)


async def test_what_the_relay_publishes_is_as_the_document_says(
    settings: Settings, postgres_log: PostgresLog, keyring: Keyring
) -> None:
    writer = Writer(keyring)
    kim, joe = writer.a_customer(), writer.a_customer()
    history = [
        writer.event(kim),
        writer.event(kim, 2, CustomerDeleted(customer=JANE)),
        writer.event(joe),
        writer.event(joe, 2, CustomerErased(positions=(3,))),
    ]
    traced = b'{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'
    history[0] = msgspec.structs.replace(history[0], metadata=traced)
    await postgres_log.append([writer.group(event) for event in history])
    with connect_as_owner(settings, "test owner") as owner:
        owner.execute("DELETE FROM keyring.data_keys WHERE stream_id = %s", [joe])
    client = await nats.connect(settings.nats_url, pending_size=-1)
    async with relaying(settings, client):
        messages = await published(settings, client, len(history))
    await client.close()

    for message, event in zip(messages, history, strict=True):
        told = MESSAGES[event.type]
        validator(told["headers"]).validate(message.headers)
        of_nats = set(message.headers or {}) - set(told["headers"]["properties"])
        assert of_nats
        for name in of_nats:
            assert f"`{'-'.join(name.split('-')[:2])}-…`" in CHANNEL["description"]
        validator(told["payload"]).validate(msgspec.json.decode(message.data))
        subject = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^.]+)", re.escape(CHANNEL["address"]))
        parts = re.fullmatch(subject, message.subject)
        assert parts is not None
        assert parts["workspace"] == msgspec.json.decode(message.data)["workspace"]
        assert parts["action"] in CHANNEL["parameters"]["action"]["enum"]
    assert (messages[0].headers or {})["traceparent"]
    assert msgspec.json.decode(messages[2].data)["data"] is None
