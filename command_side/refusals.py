"""How each rejection is answered over HTTP."""

from litestar import Response

from command_side.errors import (
    CustomerNotFound,
    ExternalIdTaken,
    InvalidFields,
    PersonErased,
    Rejection,
    RequestInProgress,
    TooBusy,
    VersionMismatch,
)
from events.errors import LogUnavailable
from runtime.field_error import FieldError
from runtime.web.conditions import etag
from runtime.web.customer_problems import customer_erased, customer_not_found
from runtime.web.problems import RETRY_SOON, AnyRequest, ApiError, answer, unavailable


def api_error_of(rejection: Rejection) -> ApiError:
    """The answer a rejection gets: its code, its sentence, and what more there is to say of it."""
    match rejection:
        case InvalidFields():
            return ApiError(rejection.code, str(rejection), errors=rejection.errors)
        case VersionMismatch():
            return _version_mismatch(rejection)
        case ExternalIdTaken():
            return _external_id_taken(rejection)
        case CustomerNotFound():
            return customer_not_found(rejection.sought_by)
        case PersonErased():
            return customer_erased()
        case _:
            is_passing = isinstance(rejection, RequestInProgress | TooBusy)
            headers = RETRY_SOON if is_passing else {}
            return ApiError(rejection.code, str(rejection), headers=headers)


def refuse(request: AnyRequest, rejection: Rejection) -> Response[bytes]:
    """Exception handler of an app with the command side's routes."""
    return answer(request, api_error_of(rejection))


def answer_log_unavailable(request: AnyRequest, error: LogUnavailable) -> Response[bytes]:
    """Exception handler: answers that the log cannot be reached."""
    return answer(request, unavailable(f"{error} Send the request again."))


def _external_id_taken(rejection: ExternalIdTaken) -> ApiError:
    error = FieldError(
        field="external_id", error=str(rejection), code=rejection.code, pointer="/external_id"
    )
    return ApiError(
        rejection.code,
        str(rejection),
        errors=[error],
        members={"existing_id": str(rejection.holder)},
    )


def _version_mismatch(rejection: VersionMismatch) -> ApiError:
    version = rejection.current_version
    return ApiError(
        rejection.code,
        f"{rejection} The request is not meant for that, and nothing was written.",
        members={"current_version": version},
        headers={} if version is None else {"ETag": etag(version)},
    )
