"""Why a write is refused, in the API's OpenAPI document: each failure as it is answered."""

from typing import Final
from uuid import UUID

from msgspec import Raw

from command_side.bulk import ROWS_MAX
from command_side.bulk_rows import MEMBER
from command_side.errors import (
    CustomerGone,
    CustomerNotFound,
    ExternalIdTaken,
    InvalidFields,
    KeyReused,
    Rejection,
    RequestInProgress,
    VersionMismatch,
)
from command_side.fields import read_changes
from command_side.refusals import api_error_of
from events.customer import EXTERNAL_ID_MAX
from runtime.web.bulk_json import parse_rows
from runtime.web.envelope import BASE_PATH
from runtime.web.json_body import (
    BULK_LIMIT,
    JSON_TYPES,
    OBJECT_LIMIT,
    PATCH_TYPES,
    not_json,
    too_long,
)
from runtime.web.openapi_kit import EXAMPLE_ID, EXAMPLE_PATH, Failure, failure, raised_by
from runtime.web.openapi_parameters import EXTERNAL_PATH, malformed_external_id, malformed_id

_BULK: Final = f"{BASE_PATH}/customers/bulk"


def _rejected(rejection: Rejection, path: str = EXAMPLE_PATH) -> Failure:
    return failure(api_error_of(rejection), path)


_REFUSED: Final = read_changes({"email": Raw(b'"nobody"'), "phone": Raw(b"15550001234")})

FAILURES: Final[dict[str, Failure]] = {
    "invalid_fields": failure(api_error_of(InvalidFields(_REFUSED.errors))),
    "row_count": failure(raised_by(lambda: parse_rows(b"[]", member=MEMBER, most=ROWS_MAX)), _BULK),
    "malformed_id": malformed_id(),
    "malformed_external_id": malformed_external_id(EXTERNAL_ID_MAX),
    "customer_not_found": _rejected(CustomerNotFound()),
    "external_id_not_found": _rejected(CustomerNotFound("external_id"), EXTERNAL_PATH),
    "external_id_taken": _rejected(ExternalIdTaken("cust-001", UUID(EXAMPLE_ID))),
    "request_in_progress": _rejected(RequestInProgress()),
    "customer_erased": _rejected(CustomerGone()),
    "version_mismatch": _rejected(VersionMismatch(2)),
    "body_too_long": failure(too_long(OBJECT_LIMIT)),
    "bulk_too_long": failure(too_long(BULK_LIMIT), _BULK),
    "not_json": failure(not_json(JSON_TYPES)),
    "not_a_patch": failure(not_json(PATCH_TYPES), EXAMPLE_PATH),
    "idempotency_key_reused": _rejected(KeyReused()),
}
