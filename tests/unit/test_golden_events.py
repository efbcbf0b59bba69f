"""Stored forms are for ever: a file per type and version, written once, never edited."""

import pickle

import msgspec
import pytest
from msgspec import Raw

from events import codec
from events.customer import (
    EVENT_TYPES,
    CustomerCreated,
    CustomerData,
    CustomerDeleted,
    CustomerErased,
    CustomerEvent,
    CustomerRestored,
    CustomerUpdated,
    PreviousData,
)
from events.errors import UnknownEvent
from events.published_schemas import PUBLISHED
from events.upcasters import NEWEST_VERSION
from tests.support.evolution import golden_event

JANE = CustomerData(
    email="jane@example.com",
    phone="+15550001234",
    first_name="Jane",
    last_name="Doe",
    company_name="Acme Corp",
    external_id="cust-001",
    tags=("vip",),
    custom_fields={"account_type": Raw(b'"premium"'), "score": Raw(b"1.10")},
    communication_preferences={"sms": True, "email": True, "voice": False},
)
EXAMPLES: dict[str, CustomerEvent] = {
    "CustomerCreated": CustomerCreated(
        customer=JANE,
        changed_fields=("email", "phone"),
        actor="clerk-7",
        reason="signed up",
        request_id="req-1",
    ),
    "CustomerUpdated": CustomerUpdated(
        customer=JANE,
        changed_fields=("first_name", "tags"),
        previous=PreviousData(first_name=None, tags=()),
    ),
    "CustomerDeleted": CustomerDeleted(customer=JANE, actor="clerk-7", reason="asked to"),
    "CustomerRestored": CustomerRestored(customer=JANE),
    "CustomerErased": CustomerErased(positions=(3, 17)),
}


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_the_newest_version_encodes_to_its_golden_file(event_type: str) -> None:
    version = NEWEST_VERSION[event_type]

    assert msgspec.json.format(
        codec.encode(EXAMPLES[event_type]), indent=2
    ) + b"\n" == golden_event(event_type, version)


@pytest.mark.parametrize(("event_type", "version"), PUBLISHED)
def test_every_version_ever_stored_decodes_to_the_newest_form(
    event_type: str, version: int
) -> None:
    golden = golden_event(event_type, version)

    assert codec.decode(event_type, version, golden) == EXAMPLES[event_type]


def test_an_event_from_the_future_is_named_between_processes_too() -> None:
    named = pickle.loads(pickle.dumps(UnknownEvent("CustomerCreated", 2)))  # noqa: S301 - our own

    assert (type(named), str(named)) == (UnknownEvent, str(UnknownEvent("CustomerCreated", 2)))


def test_an_event_from_the_future_is_named() -> None:
    with pytest.raises(UnknownEvent, match=r"CustomerCreated of schema version 2"):
        codec.decode("CustomerCreated", 2, b"{}")
    with pytest.raises(UnknownEvent, match=r"CustomerRenamed of schema version 1"):
        codec.decode("CustomerRenamed", 1, b"{}")
