"""The guard over published schemas sees every change that a subscriber could."""

from collections.abc import Callable
from typing import Any

import pytest

from events.data_schema import data_schema
from events.published_schemas import PUBLISHED, read_schema
from events.upcasters import NEWEST_VERSION
from tests.support.evolution import GOLDEN_SCHEMAS, published_schema
from tests.support.schema_changes import breaking_changes

PUBLISHED_ONE = published_schema("CustomerUpdated", 1)
CUSTOMER = ("properties", "customer")
EMAIL = (*CUSTOMER, "properties", "email")
TAGS = (*CUSTOMER, "properties", "tags")
PREFERENCES = (*CUSTOMER, "properties", "communication_preferences")
Change = Callable[[Any], object]


def changed(place: tuple[str, ...], change: Change) -> Any:
    """The schema with a change at one place."""
    schema = published_schema("CustomerUpdated", 1)
    found = schema
    for step in place:
        found = found[step]
    change(found)
    return schema


def put(**members: object) -> Change:
    """Give these keywords other values."""
    return lambda schema: schema.update(members)


def drop(name: str) -> Change:
    """Take a keyword, or a member, away."""
    return lambda schema: schema.pop(name)


BREAKING: dict[str, tuple[tuple[str, ...], Change]] = {
    "a member is gone": ((*CUSTOMER, "properties"), drop("email")),
    "an optional member is gone": (("properties", "previous", "properties"), drop("email")),
    "a member is renamed": (
        (*CUSTOMER, "properties"),
        lambda members: members.update(mail=members.pop("email")),
    ),
    "a member may be missing": (CUSTOMER, lambda schema: schema["required"].remove("email")),
    "no member is required": (CUSTOMER, drop("required")),
    "an old event may lack what is required": (
        ("properties", "previous"),
        put(required=["email"]),
    ),
    "a new member is required": (
        CUSTOMER,
        lambda schema: (
            schema["properties"].update(nickname={"type": "string"}),
            schema["required"].append("nickname"),
        ),
    ),
    "any type will do": (EMAIL, drop("type")),
    "another type": (EMAIL, put(type="integer")),
    "a further type": (EMAIL, put(type=["string", "null", "object"])),
    "null where none was": (TAGS, put(type=["array", "null"])),
    "null no more, but old events have it": (EMAIL, put(type="string")),
    "longer": (EMAIL, put(maxLength=255)),
    "shorter, but old events are longer": (EMAIL, put(maxLength=100)),
    "as long as it likes": (EMAIL, drop("maxLength")),
    "shorter than it was": ((*CUSTOMER, "properties", "external_id"), put(minLength=0)),
    "another pattern": ((*CUSTOMER, "properties", "phone"), put(pattern="^[0-9]+$")),
    "no pattern": ((*CUSTOMER, "properties", "phone"), drop("pattern")),
    "a new pattern": (EMAIL, put(pattern="@")),
    "a format": (EMAIL, put(format="email")),
    "more items": (TAGS, put(maxItems=1000)),
    "the same item twice": (TAGS, drop("uniqueItems")),
    "other items": ((*TAGS, "items"), put(type="object")),
    "any items": (TAGS, drop("items")),
    "longer items": ((*TAGS, "items"), put(maxLength=1000)),
    "other values than true and false": (PREFERENCES, put(additionalProperties=True)),
    "a new member unlike all others": (
        (*PREFERENCES, "properties"),
        put(push={"type": "string"}),
    ),
    "a closed object": (CUSTOMER, put(additionalProperties=False)),
    "names of some form": (CUSTOMER, put(propertyNames={"pattern": "^[a-z]+$"})),
    "a list of values": (EMAIL, put(enum=["a", "b"])),
    "one value": (EMAIL, put(const="a")),
    "a choice": ((), put(anyOf=[{"required": ["actor"]}])),
    "a reference": ((), put(**{"$ref": "https://example.com/other"})),
    "another dialect": ((), put(**{"$schema": "http://json-schema.org/draft-07/schema"})),
    "not a schema but false": ((*CUSTOMER, "properties"), put(email=False)),
    "nothing said of a member": ((*CUSTOMER, "properties"), put(email=True)),
}
HARMLESS: dict[str, tuple[tuple[str, ...], Change]] = {
    "nothing": ((), put()),
    "other words": (EMAIL, put(description="Otherwise said.", title="E-mail")),
    "words where none were": (("properties", "changed_fields", "items"), put(description="One.")),
    "other examples": ((), put(examples=[])),
    "a member that is optional": (
        (*CUSTOMER, "properties"),
        put(nickname={"type": ["string", "null"], "maxLength": 10}),
    ),
    "an optional object": (("properties",), put(device={"type": "object", "required": ["id"]})),
    "a new member like all others": ((*PREFERENCES, "properties"), put(push={"type": "boolean"})),
    "another order": (CUSTOMER, lambda schema: schema["required"].reverse()),
    "another order of types": (EMAIL, put(type=["null", "string"])),
    "an address": ((), put(**{"$id": "https://example.com/schemas/CustomerUpdated/1"})),
}


@pytest.mark.parametrize("name", BREAKING)
def test_a_change_that_a_subscriber_can_tell_is_found(name: str) -> None:
    assert breaking_changes(PUBLISHED_ONE, changed(*BREAKING[name])), name


@pytest.mark.parametrize("name", HARMLESS)
def test_a_change_that_no_subscriber_can_tell_is_allowed(name: str) -> None:
    assert breaking_changes(PUBLISHED_ONE, changed(*HARMLESS[name])) == []


def test_a_change_is_named_with_its_place() -> None:
    longer = changed(EMAIL, put(maxLength=300))

    assert breaking_changes(PUBLISHED_ONE, longer) == [
        "/properties/customer/properties/email/maxLength: was 254, is 300"
    ]


@pytest.mark.parametrize(("event_type", "version"), PUBLISHED)
def test_a_published_schema_still_says_what_it_said_to_subscribers(
    event_type: str, version: int
) -> None:
    changes = breaking_changes(
        published_schema(event_type, version), read_schema(event_type, version)
    )

    assert changes == [], (
        f"{event_type} version {version} is published: subscribers rely on it, and the events that "
        f"are stored keep it. Make version {version + 1} instead."
    )


@pytest.mark.parametrize("event_type", NEWEST_VERSION)
def test_the_newest_schema_is_the_one_that_is_made_from_the_event(event_type: str) -> None:
    file = f"{event_type}.v{NEWEST_VERSION[event_type]}.json"

    assert read_schema(event_type, NEWEST_VERSION[event_type]) == data_schema(event_type), (
        f"if meant: python -m events.data_schema {event_type} >events/schemas/{file}"
    )


def test_what_was_published_once_is_published_for_ever() -> None:
    once = {tuple(file.stem.split(".v")) for file in GOLDEN_SCHEMAS.glob("*.json")}

    assert once == {(event_type, str(version)) for event_type, version in PUBLISHED}
