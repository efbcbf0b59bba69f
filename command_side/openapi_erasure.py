"""The erasure of a customer, in the API's OpenAPI document."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from command_side.erasure_routes import MESSAGE
from events.envelope import CustomerId, Position, StreamVersion, WorkspaceId
from events.erasure import Erasure
from events.erasure_receipt import Place, Receipt, Retention, receipt_of
from runtime.readable import Json
from runtime.web.openapi.kit import (
    EXAMPLE_ID,
    Answer,
    Operation,
    described,
    link,
    ref,
    success_example,
    success_schema,
)
from runtime.web.openapi.parameters import parameter_refs

_AT: Final = datetime(2026, 2, 14, 9, 30, 0, 123456, tzinfo=UTC)
_RETENTION: Final = Retention(scrub_days=7, backup_days=35)
_ERASURE: Final = Erasure(
    log_id=1,
    generation=1,
    position=Position(70),
    chain=b"",
    stream_version=StreamVersion(5),
    workspace_id=WorkspaceId("acme"),
    stream_id=CustomerId(UUID(EXAMPLE_ID)),
    events=4,
    erased_at=_AT,
    key_destroyed_at=_AT + timedelta(milliseconds=1),
    reservations=1,
    receipts=0,
    forgotten_at=_AT + timedelta(milliseconds=8),
    editions=1,
    ledger_at=None,
    messages_deleted_at=None,
    messages=None,
)
_TIME: Final[Json] = {"type": ["string", "null"], "format": "date-time"}


def _example() -> object:
    return msgspec.to_builtins(receipt_of(_ERASURE, _RETENTION))


SCHEMAS: Final[dict[str, Json]] = {
    "ErasedPlace": described(
        Place,
        "A place where the person was known.",
        where={
            "type": "string",
            "description": "Which one. There may be new ones.",
            "examples": [place.where for place in receipt_of(_ERASURE, _RETENTION).places],
        },
        state={
            "type": "string",
            "description": "`done`; `pending`: it follows by itself; `scheduled`: done `by` then. "
            "There may be new ones.",
            "examples": ["done", "pending", "scheduled"],
        },
        at=_TIME | {"description": "Since when nothing of the person is there."},
        by=_TIME
        | {"description": "Until when at the latest something of the person may be there."},
        count={"description": "How many of what `what` names were destroyed."},
        what={"description": "For people."},
    ),
    "ErasureReceipt": described(
        Receipt,
        "What was destroyed where and when. The same whenever it is asked for, but for what was "
        "`pending` or `scheduled`.",
        erased_at={"format": "date-time"},
        finished={"description": "Whether nothing is `pending`."},
        places={"type": "array", "items": ref("ErasedPlace")},
        kept={"description": "What stays, for people."},
    ),
    "ErasureAnswer": success_schema(ref("ErasureReceipt"), ref("Meta")),
}

OPERATIONS: Final[dict[str, Operation]] = {
    "erase_customer": Operation(
        tag="Customers",
        description="For ever, live or deleted, and in all its history: the key that its events "
        "are encrypted with is destroyed. Its `external_id` is free; reads and writes of it are "
        "410 from now on. Asked again, the receipt is the same, and tells how far it is. "
        "`X-Actor` and `X-Reason` are not kept: each is named in `meta.warnings`, or refused under "
        "`Prefer: handling=strict`. `If-Match` and `If-None-Match` are refused: nobody is erased "
        "on a condition. That it was ordered, and with which key, is recorded.",
        parameters=parameter_refs("customer_id", "Prefer", "Idempotency-Key"),
        answers={
            200: Answer(
                description=MESSAGE,
                schema=ref("ErasureAnswer"),
                examples={"erased": success_example(MESSAGE, _example())},
                headers=("X-Consistency-Token", "Idempotency-Replayed", "Preference-Applied"),
                links={
                    "get": link(
                        "get_customer",
                        "It is erased: 410.",
                        {"customer_id": "$response.body#/data/customer_id"},
                    ),
                },
            )
        },
        failures=(
            "malformed_id",
            "customer_not_found",
            "request_in_progress",
            "idempotency_key_reused",
            "body_too_long",
        ),
    ),
}
