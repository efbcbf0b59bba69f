"""What goes wrong at the edge: one exception, and how every failure is told to the client."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import psycopg
import structlog
from litestar import MediaType, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException

from runtime.field_error import FieldError
from runtime.web.headers import request_id

log = structlog.get_logger()

AnyRequest = Request[object, object, State]

_RETRY_SECONDS = "1"


class ApiError(Exception):
    """A request that cannot be answered as asked, with the whole answer it gets instead.

    `members` stand beside the published ones at the end of the body, `meta` before the request id.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, object] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{status}: {len(errors)} errors")
        self.status = status
        self.message = message
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.meta = dict(meta or {})
        self.members = dict(members or {})

    def body(self, request: str) -> bytes:
        """The published envelope of a failure, in the published order."""
        return msgspec.json.encode(
            {
                "success": False,
                "status_code": self.status,
                "message": self.message,
                "errors": self.errors,
                "meta": {**self.meta, "request_id": request},
                **self.members,
            }
        )


class KeyRefused(ApiError):
    """401 and 403: their published bodies are not the envelope."""

    def body(self, request: str) -> bytes:
        """`detail` as published, word for word; the rest is ours."""
        return msgspec.json.encode(
            {"detail": self.message, "meta": {**self.meta, "request_id": request}, **self.members}
        )


def away(message: str) -> ApiError:
    """503: what the answer needs is not there now, and may be in a moment."""
    return ApiError(503, message, headers={"Retry-After": _RETRY_SECONDS})


def exception_handlers() -> dict[int | type[Exception], Callable[..., Response[bytes]]]:
    """What a Litestar app needs so that every failure, its own too, is answered in our shape."""
    return {
        ApiError: answer,
        HTTPException: _answer_framework,
        psycopg.OperationalError: _answer_database_away,
        psycopg.errors.ReadOnlySqlTransaction: _answer_database_away,
        Exception: _answer_unforeseen,
    }


def answer(request: AnyRequest, error: ApiError) -> Response[bytes]:
    """The answer that an ApiError stands for."""
    return Response(
        error.body(request_id(request.scope)),
        status_code=error.status,
        headers=error.headers,
        media_type=MediaType.JSON,
    )


def _answer_framework(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    if error.status_code >= 500:
        return _answer_unforeseen(request, error)
    headers = {name.title(): value for name, value in (error.headers or {}).items()}
    if isinstance(error, ValidationException):
        told = ApiError(400, "The request has parameters that cannot be used.", errors=_of(error))
    elif error.status_code == 404:
        told = ApiError(404, "There is nothing at this path.")
    elif error.status_code == 405:
        allowed = ", ".join(sorted(headers.get("Allow", "").split(", ")))
        told = ApiError(
            405,
            f"{request.method} is not possible at this path; possible: {allowed}.",
            headers={"Allow": allowed},
        )
    else:
        told = ApiError(error.status_code, error.detail, headers=headers)
    return answer(request, told)


def _of(error: ValidationException) -> list[FieldError]:
    found: list[FieldError] = []
    for entry in error.extra or []:
        if isinstance(entry, dict):
            told = msgspec.convert(entry, dict[str, object])
            field, words = str(told.get("key", "")), str(told.get("message", "invalid"))
            found.append(FieldError(field=field, error=words, code="invalid_parameter"))
    return found


def _answer_database_away(request: AnyRequest, error: psycopg.Error) -> Response[bytes]:
    # The text of the driver's error stays here: it names hosts and users.
    _log_failure("request.database_away", request, error)
    return answer(request, away("The database cannot be reached at the moment. Try again."))


def _answer_unforeseen(request: AnyRequest, error: Exception) -> Response[bytes]:
    _log_failure("request.failed", request, error)
    number = request_id(request.scope)
    return answer(
        request,
        ApiError(500, f"Something went wrong on our side. To ask about it, give the id {number}."),
    )


def _log_failure(event: str, request: AnyRequest, error: Exception) -> None:
    # The template and not the path, never the query: people stand in both.
    log.error(
        event,
        exc_info=error,
        request_id=request_id(request.scope),
        method=request.method,
        route=request.scope.get("path_template"),
    )
