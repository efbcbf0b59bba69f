"""Why a command is refused; each rejection has the code of a published problem.

Rejection
├── InvalidFields         the customer would break a rule of its fields
├── CustomerNotFound      unknown, deleted, or another workspace's
├── PersonErased          the customer was erased: it cannot come back
├── EventTooLarge         what would be written makes a larger event than can be published
├── VersionMismatch       the customer is not at the version that the request is meant for
├── ExternalIdTaken       another live customer of the workspace holds the external_id
├── RequestInProgress     the first request with this Idempotency-Key still runs
├── IdempotencyKeyReused  the Idempotency-Key was used for another request
└── TooBusy               ten other writers were faster; nothing was written
"""

from typing import Final, Literal
from uuid import UUID

from runtime.field_error import FieldError, summary


class Rejection(Exception):
    """A command refused by a rule; nothing was written."""

    code: str


class InvalidFields(Rejection):
    """The customer would break a rule of its fields; all of the errors, at once."""

    code = "invalid_request"

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__(summary(errors))
        self.errors = errors


class CustomerNotFound(Rejection):
    """No live customer of this workspace has this id, or this external_id."""

    code = "customer_not_found"

    def __init__(self, sought_by: Literal["id", "external_id"] = "id") -> None:
        super().__init__(sought_by)
        self.sought_by: Final = sought_by


class PersonErased(Rejection):
    """The customer was erased."""

    code = "customer_erased"


class EventTooLarge(Rejection):
    """What would be written makes a larger event than can be published."""

    code = "event_too_large"

    def __init__(self) -> None:
        super().__init__(
            "The customer is too large: with what was changed, and what that was before, it makes "
            "a larger event than can be published. Nothing was written."
        )


class VersionMismatch(Rejection):
    """The customer is not at the version that the request is meant for."""

    code = "version_mismatch"

    def __init__(self, current_version: int | None) -> None:
        super().__init__(
            "There is no customer here whose version could match."
            if current_version is None
            else f"The customer is at version {current_version} now."
        )
        self.current_version = current_version


class ExternalIdTaken(Rejection):
    """Another live customer of the workspace holds the external_id."""

    code = "external_id_taken"

    def __init__(self, external_id: str, holder: UUID) -> None:
        super().__init__("Another customer of this workspace has this external_id.")
        self.external_id = external_id
        self.holder = holder


class RequestInProgress(Rejection):
    """The first request with this Idempotency-Key still runs in this process."""

    code = "request_in_progress"

    def __init__(self) -> None:
        super().__init__(
            "The first request with this Idempotency-Key still runs. Send it again in a second."
        )


class IdempotencyKeyReused(Rejection):
    """The Idempotency-Key was used for a request with another body or query."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for a request with another body or query. "
            "A new request needs a new key."
        )


class TooBusy(Rejection):
    """The customer kept changing under the command; it may be sent again as it is."""

    code = "unavailable"

    def __init__(self) -> None:
        super().__init__("The customer keeps changing; nothing was written. Try again.")
