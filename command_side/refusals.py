"""How each rejection is told over HTTP."""

from litestar import Response

from command_side.errors import (
    CustomerGone,
    CustomerNotFound,
    ExternalIdTaken,
    InvalidFields,
    Rejection,
    TooBusy,
)
from events.errors import LogUnavailable
from runtime.field_error import FieldError
from runtime.web.problems import AnyRequest, ApiError, answer, away


def _invalid_fields(rejection: InvalidFields) -> ApiError:
    errors = rejection.errors
    words = f"{errors[0].field}: {errors[0].error}"
    if len(errors) > 1:
        words = f"{len(errors)} fields cannot be accepted; `errors` names each."
    return ApiError(400, words, errors=errors)


def _external_id_taken(rejection: ExternalIdTaken) -> ApiError:
    error = FieldError(
        field="external_id", error=str(rejection), code=rejection.code, pointer="/external_id"
    )
    return ApiError(
        409,
        "Another customer of this workspace has this external_id.",
        errors=[error],
        members={"existing_id": str(rejection.holder)},
    )


def told(rejection: Rejection) -> ApiError:
    """The answer a rejection gets."""
    match rejection:
        case InvalidFields():
            return _invalid_fields(rejection)
        case CustomerNotFound():
            return ApiError(404, "No customer has this id.")
        case CustomerGone():
            return ApiError(410, "This customer was erased.")
        case ExternalIdTaken():
            return _external_id_taken(rejection)
        case TooBusy():
            return away("The customer keeps changing; nothing was written. Try again.")
        case _:
            raise rejection


def refuse(request: AnyRequest, rejection: Rejection) -> Response[bytes]:
    """Exception handler of an app with the command side's routes."""
    return answer(request, told(rejection))


def log_away(request: AnyRequest, error: LogUnavailable) -> Response[bytes]:
    """Exception handler: the log cannot be reached."""
    return answer(request, away(f"{error} Send the request again."))
