"""What the bodies of writes look like, in the API's OpenAPI document."""

from typing import Final

from command_side.bulk import ROWS_MAX
from command_side.bulk_results import RowDone, RowFailed
from command_side.bulk_routes import BulkData
from command_side.customer import CUSTOM_FIELDS_BYTES_MAX
from command_side.fields import CHANNELS, VERSION_MAX
from events.customer import (
    COMPANY_MAX,
    CUSTOM_FIELDS_MAX,
    EMAIL_MAX,
    EXTERNAL_ID_MAX,
    NAME_MAX,
    PHONE,
    TAG_MAX,
    TAGS_MAX,
)
from runtime.readable import Json
from runtime.web.openapi.kit import (
    NO_CONTROL,
    NO_FORBIDDEN,
    described,
    object_schema,
    ref,
    success_schema,
    trimmed_pattern,
)

_BLANK: Final = "^ *$"
_PHONE: Final = f"^({PHONE.pattern}| *)$"
_TAG: Final = trimmed_pattern(TAG_MAX, without=",")


def _text(length_max: int, description: str, **more: object) -> Json:
    return {
        "type": ["string", "null"],
        "maxLength": length_max,
        "pattern": NO_CONTROL,
        "description": description,
        **more,
    }


_FIRST_NAME: Final = _text(NAME_MAX, "`first_name` is taken too; sent both, they must agree.")
_LAST_NAME: Final = _text(NAME_MAX, "`last_name` is taken too; sent both, they must agree.")
_COMPANY: Final = _text(COMPANY_MAX, "`company_name` is taken too; sent both, they must agree.")
_FIELDS: Final[dict[str, Json]] = {
    "email": {
        "anyOf": [
            {"type": "string", "format": "email", "maxLength": EMAIL_MAX},
            {"type": "string", "pattern": _BLANK, "maxLength": EMAIL_MAX},
            {"type": "null"},
        ],
        "description": "Internationalised addresses are taken too. Blank is the same as null.",
    },
    "phone": {
        "type": ["string", "null"],
        "pattern": _PHONE,
        "description": "E.164: a plus, then 2 to 15 digits. Blank is the same as null.",
    },
    "firstName": _FIRST_NAME,
    "first_name": _text(NAME_MAX, "The other spelling of `firstName`."),
    "lastName": _LAST_NAME,
    "last_name": _text(NAME_MAX, "The other spelling of `lastName`."),
    "companyName": _COMPANY,
    "company_name": _text(COMPANY_MAX, "The other spelling of `companyName`."),
    "external_id": _text(
        EXTERNAL_ID_MAX,
        "Your own id, case-sensitive, unique among the live customers of the workspace.",
        minLength=1,
    ),
    "tags": {
        "type": ["array", "null"],
        "maxItems": TAGS_MAX,
        "items": {"type": "string", "pattern": _TAG},
        "description": f"1 to {TAG_MAX} characters each, once trimmed. Of those that differ in "
        "case only, the first is kept. A comma is refused: it separates in the filter. Always "
        "replaced as a whole.",
    },
    "custom_fields": {
        "anyOf": [ref("CustomFields"), {"type": "null"}],
        "description": f"At most {CUSTOM_FIELDS_MAX} keys and {CUSTOM_FIELDS_BYTES_MAX // 1024} "
        "KiB, together with those there are already.",
    },
    "communication_preferences": {
        "anyOf": [ref("Preferences"), {"type": "null"}],
        "description": "Which channels the customer may be contacted by.",
    },
}
_COUNTS: Final = [name for name in BulkData.__struct_fields__ if name != "results"]
_INDEX: Final[Json] = {
    "type": "integer",
    "minimum": 0,
    "description": "The place of the row in the request, from 0.",
}
_IGNORED: Final[Json] = {
    # Ignored, or refused under `Prefer: handling=strict`.
    "propertyNames": {"pattern": NO_FORBIDDEN},
    "additionalProperties": ref("JsonValue"),
}
_HAS_EMAIL: Final[Json] = {
    "required": ["email"],
    "properties": {"email": {"type": "string", "pattern": "[^ ]"}},
}
_HAS_PHONE: Final[Json] = {
    "required": ["phone"],
    "properties": {"phone": {"type": "string", "pattern": "[^ ]"}},
}


def _customer(description: str, **more: object) -> Json:
    return object_schema(_FIELDS, required=[], description=description) | _IGNORED | more


SCHEMAS: Final[dict[str, Json]] = {
    "JsonValue": {
        "description": "Any JSON value, without control characters but tab and line feed.",
        "pattern": NO_FORBIDDEN,
        "propertyNames": {"pattern": NO_FORBIDDEN},
        "items": ref("JsonValue"),
        "additionalProperties": ref("JsonValue"),
    },
    "CustomFields": {
        "type": "object",
        "maxProperties": CUSTOM_FIELDS_MAX,
        "propertyNames": {"pattern": NO_FORBIDDEN},
        "additionalProperties": ref("JsonValue"),
        "description": "Any JSON; each value comes back as sent. A null is kept in a new customer. "
        "In a change it removes the key, unless that is null already: then nothing changes.",
    },
    "Preferences": {
        "type": "object",
        "properties": {channel: {"type": ["boolean", "null"]} for channel in CHANNELS},
        "additionalProperties": False,
        "description": "Only these channels; null removes one.",
    },
    "NewCustomer": _customer(
        "A customer to be made. One of `email` and `phone` is needed.",
        **{"if": {"not": _HAS_EMAIL}, "then": _HAS_PHONE},
    ),
    "CustomerChanges": _customer(
        "What is to change: members that are not sent stay, null clears. `custom_fields` and "
        "`communication_preferences` merge by key, where null removes the key. One of `email` and "
        "`phone` must be left in the end.",
    ),
    "BulkRow": object_schema(
        {
            **_FIELDS,
            "external_id": _FIELDS["external_id"]
            | {"type": "string", "description": "Identifies the customer."},
            "if_version": {
                "type": "integer",
                "minimum": 1,
                "maximum": VERSION_MAX,
                "description": "Do it only if the customer is in this version.",
            },
        },
        required=["external_id"],
        description="A customer to be made, or the changes to the one that has this external_id.",
    )
    | _IGNORED,
    "BulkRows": {
        "type": "array",
        "minItems": 1,
        "maxItems": ROWS_MAX,
        "items": ref("BulkRow"),
    },
    "BulkBody": object_schema({"customers": ref("BulkRows")}, required=["customers"]) | _IGNORED,
    "RowDone": described(
        RowDone,
        "A row that succeeded.",
        index=_INDEX,
        status={
            "type": "string",
            "description": "What was done. There may be new ones.",
            "examples": ["created", "updated", "unchanged"],
        },
        version={"minimum": 1},
    ),
    "RowFailed": described(
        RowFailed,
        "A row that was refused; it stopped no other.",
        index=_INDEX,
        external_id={"description": "Null when the row has none that can be used."},
        status={"type": "string", "const": "failed"},
    ),
    "BulkData": object_schema(
        {
            **{count: {"type": "integer", "minimum": 0} for count in _COUNTS},
            "results": {
                "type": "array",
                "items": {"anyOf": [ref("RowDone"), ref("RowFailed")]},
                "description": "One for each row, in the order of the request.",
            },
        },
        required=BulkData.__struct_fields__,
        description="How many rows became what, and each of them.",
    ),
    "DeletedCustomer": object_schema({"id": {"type": "string", "format": "uuid"}}, required=["id"]),
    "BulkAnswer": success_schema(ref("BulkData"), ref("Meta")),
    "DeletedAnswer": success_schema(ref("DeletedCustomer"), ref("Meta")),
}
