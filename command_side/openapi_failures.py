"""Why a write is refused, in the API's OpenAPI document: each failure as it is answered."""

from typing import Final
from uuid import UUID

from msgspec import Raw

from command_side.bulk import ROWS_MAX
from command_side.bulk_body import parse_rows
from command_side.bulk_rows import MEMBER
from command_side.errors import (
    EventTooLarge,
    ExternalIdTaken,
    IdempotencyKeyReused,
    InvalidFields,
    Rejection,
    RequestInProgress,
    VersionMismatch,
)
from command_side.fields import read_changes
from command_side.refusals import api_error_of
from runtime.web.envelope import BASE_PATH
from runtime.web.json_body import (
    BULK_LIMIT,
    JSON_TYPES,
    OBJECT_LIMIT,
    PATCH_TYPES,
    not_json,
    too_long,
)
from runtime.web.openapi.kit import EXAMPLE_ID, EXAMPLE_PATH, FailureExample, failure, raised_by

_BULK: Final = f"{BASE_PATH}/customers/bulk"


def _rejected(rejection: Rejection, path: str = EXAMPLE_PATH) -> FailureExample:
    return failure(api_error_of(rejection), path)


_REFUSED: Final = read_changes({"email": Raw(b'"nobody"'), "phone": Raw(b"15550001234")})

FAILURES: Final[dict[str, FailureExample]] = {
    "invalid_fields": failure(api_error_of(InvalidFields(_REFUSED.errors))),
    "row_count": failure(raised_by(lambda: parse_rows(b"[]", member=MEMBER, most=ROWS_MAX)), _BULK),
    "external_id_taken": _rejected(ExternalIdTaken("cust-001", UUID(EXAMPLE_ID))),
    "request_in_progress": _rejected(RequestInProgress()),
    "version_mismatch": _rejected(VersionMismatch(2)),
    "body_too_long": failure(too_long(OBJECT_LIMIT)),
    "event_too_large": failure(api_error_of(EventTooLarge())),
    "bulk_too_long": failure(too_long(BULK_LIMIT), _BULK),
    "not_json": failure(not_json(JSON_TYPES)),
    "not_a_patch": failure(not_json(PATCH_TYPES), EXAMPLE_PATH),
    "idempotency_key_reused": _rejected(IdempotencyKeyReused()),
}
