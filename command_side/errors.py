"""Why a command is refused; each rejection has a stable code that clients may rely on.

Rejection
├── InvalidFields     the customer would break a rule of its fields
├── CustomerNotFound  unknown, deleted, or another workspace's
├── CustomerGone      erased: it cannot come back
├── ExternalIdTaken   another live customer of the workspace holds the external_id
└── TooBusy           ten other writers were faster; nothing was written
"""

from uuid import UUID

from runtime.field_error import FieldError


class Rejection(Exception):
    """A command refused by a rule; nothing was written."""

    code: str


class InvalidFields(Rejection):
    """The customer would break a rule of its fields; all of the errors, at once."""

    code = "invalid_fields"

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.error}" for error in errors))
        self.errors = errors


class CustomerNotFound(Rejection):
    """No live customer of this workspace has this id."""

    code = "customer_not_found"


class CustomerGone(Rejection):
    """The customer was erased."""

    code = "customer_erased"


class ExternalIdTaken(Rejection):
    """Another live customer of the workspace holds the external_id."""

    code = "external_id_taken"

    def __init__(self, external_id: str, holder: UUID) -> None:
        super().__init__("Another customer of this workspace has this external_id.")
        self.external_id = external_id
        self.holder = holder


class TooBusy(Rejection):
    """The customer kept changing under the command; it may be sent again as it is."""

    code = "too_busy"
