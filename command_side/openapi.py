"""The writes in the API's OpenAPI document: what there is to say of each beside its route."""

from collections.abc import Sequence
from typing import Final

import msgspec

from command_side.bulk import ROWS_MAX, version_error
from command_side.fields import SPELLINGS
from command_side.idempotency_key import KEY_MAX
from command_side.openapi_erasure import OPERATIONS as ERASURE
from command_side.openapi_erasure import SCHEMAS as ERASURE_SCHEMAS
from command_side.openapi_failures import FAILURES
from command_side.openapi_schemas import SCHEMAS
from events.customer import EXTERNAL_ID_MAX
from events.document_schema import customer_schema
from events.examples import example_customer
from runtime.readable import Json
from runtime.web.json_body import BULK_LIMIT, JSON_TYPES, OBJECT_LIMIT, PATCH_TYPES
from runtime.web.openapi.customers import ID_OF_ANSWER, describe_customer
from runtime.web.openapi.kit import (
    EXAMPLE_ID,
    Answer,
    Body,
    Description,
    Operation,
    link,
    ref,
    success_example,
)
from runtime.web.openapi.parameters import parameter_refs
from runtime.web.strict_json import DEEPEST, MARKS_MAX

_SHARED: Final = describe_customer(customer_schema(), EXTERNAL_ID_MAX)
_JANE: Final = example_customer(EXAMPLE_ID)
# The last spelling of a name is the one that the published reference sends.
_SENT_AS: Final = {name: member for member, name in SPELLINGS.items()}
_CREATION: Final[Json] = {
    _SENT_AS[name]: value for name, value in _JANE.items() if name in _SENT_AS
}
_CHANGED: Final = _JANE | {
    "company_name": None,
    "custom_fields": {"account_type": "premium", "region": "north"},
    "updated_at": "2026-01-31T12:05:00.654321Z",
    "version": 2,
}
# Spaces around the value of a header are no part of it.
_BARE_KEY: Final = f"[!#-~]([ -~]{{0,{KEY_MAX - 2}}}[!-~])?"
_QUOTED_KEY: Final = rf'"([ !#-\[\]-~]|\\["\\]){{1,{KEY_MAX}}}"'
_HISTORY: Final = ("X-Actor", "X-Reason", "Prefer", "Idempotency-Key")
_CONDITIONS: Final = ("If-Match", "If-None-Match-Write")
_WRITTEN: Final = (
    "ETag",
    "X-Consistency-Token",
    "Idempotency-Replayed",
    "Preference-Applied",
)
_KEYED: Final = ("request_in_progress", "idempotency_key_reused")
_BODY: Final = ("invalid_fields", "body_too_long", "event_too_large")
_FOUND: Final = ("customer_erased", "version_mismatch")
_BY_ID: Final = ("malformed_id", "customer_not_found", *_FOUND)
_BY_EXTERNAL_ID: Final = ("malformed_external_id", "external_id_not_found", *_FOUND)
_TOKEN: Final = "$response.header.X-Consistency-Token"  # noqa: S105 - where the token stands

_LINKS: Final[dict[str, Json]] = {
    "get": link("get_customer", "Read it.", ID_OF_ANSWER | {"header.X-Consistency-Token": _TOKEN}),
    "update": link("update_customer", "Change it.", ID_OF_ANSWER),
    "patch": link("patch_customer", "Change it.", ID_OF_ANSWER),
    "delete": link("delete_customer", "Delete it.", ID_OF_ANSWER),
    "erase": link("erase_customer", "Forget it for ever.", ID_OF_ANSWER),
}
_LINKS_OF_DELETED: Final[dict[str, Json]] = {
    "get": link("get_customer", "It is deleted: 404.", ID_OF_ANSWER),
    "delete": link("delete_customer", "It is deleted: 404.", ID_OF_ANSWER),
    "restore": link("restore_customer", "Bring it back.", ID_OF_ANSWER),
    "erase": link("erase_customer", "Forget it for ever.", ID_OF_ANSWER),
}


def _customer_body(schema: str, example: Json, media_types: Sequence[str] = JSON_TYPES) -> Body:
    return Body(
        schema=ref(schema),
        description=f"At most {OBJECT_LIMIT // 1024} KiB and {DEEPEST} levels deep. Values are "
        "never coerced.",
        examples={"reference": {"value": example}},
        media_types=media_types,
    )


def _customer_answer(message: str, customer: Json, *headers: str) -> Answer:
    return Answer(
        description=message,
        schema=ref("CustomerAnswer"),
        examples={"reference": success_example(message, customer)},
        headers=(*_WRITTEN, *headers),
        links=_LINKS,
    )


_DELETED: Final = Answer(
    description="Customer deleted successfully",
    schema=ref("DeletedAnswer"),
    examples={"deleted": success_example("Customer deleted successfully", {"id": EXAMPLE_ID})},
    headers=_WRITTEN,
    links=_LINKS_OF_DELETED,
)
_UPDATED: Final = _customer_answer("Customer updated successfully", _CHANGED)
_CHANGES: Final[Json] = {"companyName": None, "custom_fields": {"region": "north"}}
_CHANGE_WORDS: Final = (
    "Changes only what is sent; `null` clears. `custom_fields` and `communication_preferences` "
    "merge by key, where `null` removes the key (one of `custom_fields` that is null already "
    "stays); tags are replaced. When nothing changes, the answer is the same and the version stays."
)
_BULK_EXAMPLE: Final[Json] = {
    "total": 3,
    "created": 1,
    "updated": 1,
    "unchanged": 0,
    "failed": 1,
    "results": [
        {
            "index": 0,
            "external_id": "cust-001",
            "status": "updated",
            "id": EXAMPLE_ID,
            "version": 2,
        },
        {
            "index": 1,
            "external_id": "cust-002",
            "status": "created",
            "id": "01939c2e-7d00-7a11-b1d2-6a5c4b3a2f10",
            "version": 1,
        },
        {
            "index": 2,
            "external_id": "cust-003",
            "status": "failed",
            "errors": [msgspec.to_builtins(version_error("/customers/2", 5))],
        },
    ],
}


def _flag(name: str, description: str) -> Json:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": "boolean", "default": False},
    }


OPERATIONS: Final[dict[str, Operation]] = {
    "create_customer": Operation(
        tag="Customers",
        description="The answer is 200, and `Location` says where the customer is.",
        parameters=parameter_refs(*_HISTORY),
        body=_customer_body("NewCustomer", _CREATION),
        answers={200: _customer_answer("Customer created successfully", _JANE, "Location")},
        failures=("external_id_taken", *_KEYED, *_BODY, "not_json", "customer_erased"),
    ),
    "update_customer": Operation(
        tag="Customers",
        description=_CHANGE_WORDS,
        parameters=parameter_refs("customer_id", *_CONDITIONS, *_HISTORY),
        body=_customer_body("CustomerChanges", _CHANGES),
        answers={200: _UPDATED},
        failures=(*_BY_ID, *_BODY, "not_json", "external_id_taken", *_KEYED),
    ),
    "patch_customer": Operation(
        tag="Customers",
        description=f"{_CHANGE_WORDS} The same as PUT.",
        parameters=parameter_refs("customer_id", *_CONDITIONS, *_HISTORY),
        body=_customer_body("CustomerChanges", _CHANGES, PATCH_TYPES),
        answers={200: _UPDATED},
        failures=(*_BY_ID, *_BODY, "not_a_patch", "external_id_taken", *_KEYED),
    ),
    "delete_customer": Operation(
        tag="Customers",
        description="Out of get, list, search and tags at once; its `external_id` is free. "
        "Deleting it again is 404; it can be restored.",
        parameters=parameter_refs("customer_id", *_CONDITIONS, *_HISTORY),
        answers={200: _DELETED},
        failures=(*_BY_ID, *_KEYED, "body_too_long"),
    ),
    "restore_customer": Operation(
        tag="Customers",
        description="A customer that is not deleted is answered as it is. Takes no body; one that "
        "is sent is ignored.",
        parameters=parameter_refs("customer_id", *_CONDITIONS, *_HISTORY),
        answers={200: _customer_answer("Customer restored successfully", _JANE | {"version": 3})},
        failures=(*_BY_ID, "external_id_taken", *_KEYED, "body_too_long"),
    ),
    "put_external_customer": Operation(
        tag="External ids",
        description=f"{_CHANGE_WORDS} Created when there is none; `If-None-Match: *` only "
        "creates. Another `external_id` in the body is refused.",
        parameters=parameter_refs("external_id", *_CONDITIONS, *_HISTORY),
        body=_customer_body("CustomerChanges", _CREATION),
        answers={
            200: _customer_answer("Customer created successfully", _JANE, "Location-Of-Created")
        },
        failures=("malformed_external_id", *_FOUND, *_BODY, "not_json", *_KEYED),
    ),
    "delete_external_customer": Operation(
        tag="External ids",
        description="The same as deleting it by its id.",
        parameters=parameter_refs("external_id", *_CONDITIONS, *_HISTORY),
        answers={200: _DELETED},
        failures=(*_BY_EXTERNAL_ID, *_KEYED, "body_too_long"),
    ),
    "bulk_upsert_customers": Operation(
        tag="Lists",
        description="Rows are decided in order by `external_id`: unknown is created, known is "
        "updated like PUT, nothing changed is `unchanged`. A bad row fails alone, and the answer "
        "is 200 all the same. What the good rows change is written in one transaction.",
        parameters=(
            _flag("atomic", "One bad row refuses the whole call with 400."),
            _flag(
                "dry_run",
                "The same answer, and nothing is written: the `id` of a row that would be created "
                "is made up.",
            ),
            *parameter_refs(*_HISTORY),
        ),
        body=Body(
            schema={"anyOf": [ref("BulkBody"), ref("BulkRows")]},
            description=f"1 to {ROWS_MAX} rows, at most {BULK_LIMIT // 1024**2} MiB and "
            f"{MARKS_MAX:,} members, objects and arrays in all.",
            examples={
                "wrapped": {
                    "value": {
                        "customers": [
                            {"external_id": "cust-001", "companyName": "Acme Inc"},
                            {"external_id": "cust-002", "phone": "+15550005678"},
                            {
                                "external_id": "cust-003",
                                "email": "joe@example.com",
                                "if_version": 4,
                            },
                        ]
                    }
                },
                "bare": {"value": [_CREATION]},
            },
        ),
        answers={
            200: Answer(
                description="The rows were processed.",
                schema=ref("BulkAnswer"),
                examples={
                    "processed": success_example("3 customers processed", _BULK_EXAMPLE),
                },
                headers=(
                    "Consistency-Token-Of-Bulk",
                    "Idempotency-Replayed",
                    "Preference-Applied",
                ),
            )
        },
        failures=("row_count", "bulk_too_long", "not_json", *_KEYED, "customer_erased"),
    ),
}

DESCRIPTION: Final = Description(
    operations={**OPERATIONS, **ERASURE},
    failures={**_SHARED.failures, **FAILURES},
    schemas={
        **_SHARED.schemas,
        **SCHEMAS,
        **ERASURE_SCHEMAS,
    },
    parameters={
        **_SHARED.parameters,
        "Idempotency-Key": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A key of your own for this request, quoted or bare: sent again with "
            "the same key, it is done once; every repeat gets the first answer. Kept for 24 "
            "hours or longer, per workspace, method and path.",
            "schema": {
                "type": "string",
                "pattern": f"^({_BARE_KEY}|{_QUOTED_KEY})$",
                "examples": ["8e03978e-40d5-43e8-bc93-6894a57f9324"],
            },
        },
    },
)
