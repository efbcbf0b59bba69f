"""Makes the JSON Schema of each event's data, in its newest version, from the event itself.

What is served are the files in `schemas/`, which stay when the events go on to the next version:

    python -m events.data_schema CustomerCreated >events/schemas/CustomerCreated.v1.json
"""

import sys
from typing import Final

import msgspec
from msgspec import Struct

from events import codec
from events.cloudevents import published
from events.customer import (
    COMPANY_MAX,
    CUSTOM_FIELDS_MAX,
    EMAIL_MAX,
    EVENT_TYPES,
    EXTERNAL_ID_MAX,
    NAME_MAX,
    PHONE,
    TAG_MAX,
    TAGS_MAX,
    Channel,
    CustomerCreated,
    CustomerData,
    CustomerDeleted,
    CustomerErased,
    CustomerEvent,
    CustomerRestored,
    CustomerUpdated,
    PreviousData,
)
from events.examples import EXAMPLES
from events.upcasters import NEWEST_VERSION
from runtime.readable import Json, readable_json

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ORIGIN_MAX: Final = 256
"""The length of an actor and of a reason."""
REQUEST_ID_MAX: Final = 128


def _text(description: str, **more: object) -> Json:
    return {"type": ["string", "null"], **more, "description": description}


_FIELDS: Final[dict[str, Json]] = {
    "email": _text("As it was sent; compare it without regard to case.", maxLength=EMAIL_MAX),
    "phone": _text("In E.164.", pattern=f"^{PHONE.pattern}$"),
    "first_name": _text("As it was sent.", maxLength=NAME_MAX),
    "last_name": _text("As it was sent.", maxLength=NAME_MAX),
    "company_name": _text("As it was sent.", maxLength=COMPANY_MAX),
    "external_id": _text(
        "The workspace's own id of the customer, case-sensitive. At any time at most one live "
        "customer of a workspace has it; one that is deleted shows the id that it had, which "
        "another may have taken since.",
        minLength=1,
        maxLength=EXTERNAL_ID_MAX,
    ),
    "tags": {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": TAG_MAX, "pattern": "^[^,]*$"},
        "maxItems": TAGS_MAX,
        "uniqueItems": True,
        "description": "In the order they were sent; no two differ in case only.",
    },
    "custom_fields": {
        "type": "object",
        "maxProperties": CUSTOM_FIELDS_MAX,
        "description": "Any JSON by name, each value as it was sent, to every digit of a number. "
        "A value may be null.",
    },
    "communication_preferences": {
        "type": "object",
        "properties": {channel: {"type": "boolean"} for channel in Channel.__args__},
        "additionalProperties": {"type": "boolean"},
        "description": "Whether the customer may be contacted so; only what was ever said. There "
        "may be further channels one day.",
    },
}
_ORIGIN: Final[dict[str, Json]] = {
    "actor": _text("Who made the change, as the caller said (`X-Actor`).", maxLength=ORIGIN_MAX),
    "reason": _text("Why it was made, as the caller said (`X-Reason`).", maxLength=ORIGIN_MAX),
    "request_id": _text(
        "The id of the request that made the change (`X-Request-Id`).", maxLength=REQUEST_ID_MAX
    ),
}
_CHANGED: Final[Json] = {
    "type": "array",
    "items": {"type": "string", "examples": list(CustomerData.__struct_fields__)},
    "uniqueItems": True,
}
_WHOLE: Final = "The whole customer after the event: replace what you keep by it."
_BEFORE: Final[dict[type[CustomerEvent], tuple[str, str, str]]] = {
    CustomerCreated: (
        _WHOLE,
        "The fields that have a value.",
        "Empty: there was nothing before.",
    ),
    CustomerUpdated: (
        _WHOLE,
        "The fields that differ from the event before.",
        "What the changed fields were before; the others are not here.",
    ),
    CustomerDeleted: (
        "The customer as it was last, and as restoring it would bring it back.",
        "Empty: deleting changes no field.",
        "Empty: deleting changes no field.",
    ),
    CustomerRestored: (
        _WHOLE,
        "Empty: the customer is as it was when it was deleted.",
        "Empty: the customer is as it was when it was deleted.",
    ),
}
_EVENT: Final[dict[type[CustomerEvent], str]] = {
    CustomerCreated: "A customer is known from now on.",
    CustomerUpdated: "Some fields of a customer changed.",
    CustomerDeleted: "A customer is gone from every answer, and gave its external_id free. It may "
    "be restored.",
    CustomerRestored: "A deleted customer is back, with the same id and history.",
    CustomerErased: "A person was forgotten, for ever: forget this customer too. The `data` of the "
    "earlier events is null from then on.",
}


def data_schema(event_type: str) -> Json:
    """The JSON Schema of the newest version of an event's data.

    Every object in it is open: members that a subscriber does not know are to be ignored.
    """
    event_class = EVENT_TYPES[event_type]
    schema = _object(event_class, _members(event_class), _EVENT[event_class])
    title = f"{event_type}, version {NEWEST_VERSION[event_type]}"
    examples = [msgspec.json.decode(published(event_type, codec.encode(EXAMPLES[event_class])))]
    return {"$schema": _DIALECT, "title": title, **schema, "examples": examples}


def _members(event_class: type[CustomerEvent]) -> dict[str, Json]:
    if event_class is CustomerErased:
        # It is published without what it holds.
        return {}
    customer, changed, previous = _BEFORE[event_class]
    before: Json = {"type": "object", "description": previous}
    if event_class is CustomerUpdated:
        before = _object(PreviousData, _FIELDS, previous)
    return {
        "customer": _object(CustomerData, _FIELDS, customer),
        "changed_fields": _CHANGED | {"description": changed},
        "previous": before,
        **_ORIGIN,
    }


def _object(struct: type[Struct], members: dict[str, Json], description: str) -> Json:
    """An object with the members of a struct, which raises KeyError for one that is not told."""
    fields = () if struct is CustomerErased else struct.__struct_fields__
    schema: Json = {
        "type": "object",
        "description": description,
        "properties": {name: members[name] for name in fields},
    }
    return schema if struct.__struct_config__.omit_defaults else schema | {"required": list(fields)}


if __name__ == "__main__":
    sys.stdout.buffer.write(readable_json(data_schema(sys.argv[1])))
