"""What goes wrong at the edge: one exception, and how every failure is answered."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
import psycopg
import structlog
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from psycopg_pool import PoolTimeout, TooManyRequests

from runtime.field_error import FieldError, summary
from runtime.web.accept import media_type_of_failure
from runtime.web.headers import raw_path, request_id
from runtime.web.problem_types import PROBLEMS, code_of

log = structlog.get_logger()

AnyRequest = Request[object, object, State]

RETRY_SOON: Final = {"Retry-After": "1"}


class ApiError(Exception):
    """A request that cannot be answered as asked, with the whole answer it gets instead.

    `kind` is the code of a problem in `PROBLEMS`, or a status that says enough. `members` stand
    after the published ones in the body, `meta` before the request id.
    """

    def __init__(
        self,
        kind: int | str,
        message: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        meta: Mapping[str, object] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(f"{kind}: {len(errors)} errors")
        self.code = code_of(kind) if isinstance(kind, int) else kind
        self.status = PROBLEMS[self.code].status
        self.message = message
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.meta = dict(meta or {})
        self.members = dict(members or {})

    def body(self, request_id: str, instance: str | None = None) -> bytes:
        """The published envelope, in the published order, then what RFC 9457 asks for.

        `instance` is the path of the request, when there is one.
        """
        return msgspec.json.encode(
            {
                "success": False,
                "status_code": self.status,
                "message": self.message,
                "errors": self.errors,
                "meta": {**self.meta, "request_id": request_id},
                **self.members,
                **self._problem(instance),
            }
        )

    def _problem(self, instance: str | None) -> dict[str, object]:
        members: dict[str, object] = {
            "type": f"/problems/{self.code}",
            "title": PROBLEMS[self.code].title,
            "status": self.status,
            "detail": self.message,
        }
        return members if instance is None else members | {"instance": instance}


class ApiKeyRefused(ApiError):
    """401 and 403: their published bodies are not the envelope."""

    def body(self, request_id: str, instance: str | None = None) -> bytes:
        """`detail` as published, word for word; the rest is ours."""
        return msgspec.json.encode(
            {
                "detail": self.message,
                "meta": {**self.meta, "request_id": request_id},
                **self.members,
                **self._problem(instance),
            }
        )


def invalid_request(errors: Sequence[FieldError]) -> ApiError:
    """400 with everything that is wrong."""
    return ApiError(400, summary(errors), errors=errors)


def unavailable(message: str) -> ApiError:
    """503: what the answer needs cannot be reached now, but may be in a moment."""
    return ApiError(503, message, headers=RETRY_SOON)


def nothing_here() -> ApiError:
    """404: no call has this path."""
    return ApiError(404, "There is nothing at this path.")


def database_unavailable() -> ApiError:
    """503, without the reason: the driver's message names hosts and users."""
    return unavailable(
        "The database is away, or has more to do than it can, at the moment. Try again."
    )


def unforeseen(request_id: str) -> ApiError:
    """500: a fault of ours."""
    return ApiError(
        500, f"Something went wrong on our side. To ask about it, give the id {request_id}."
    )


def exception_handlers() -> dict[int | type[Exception], Callable[..., Response[bytes]]]:
    """What a Litestar app needs so that every failure, its own too, is answered in our shape."""
    return {
        ApiError: answer,
        HTTPException: _answer_framework,
        psycopg.OperationalError: _answer_database_unavailable,
        psycopg.errors.ReadOnlySqlTransaction: _answer_database_unavailable,
        Exception: _answer_unforeseen,
    }


def answer(request: AnyRequest, error: ApiError) -> Response[bytes]:
    """The answer that an ApiError stands for."""
    return Response(
        error.body(request_id(request.scope), raw_path(request.scope)),
        status_code=error.status,
        headers=error.headers | {"Vary": "Accept"},
        media_type=media_type_of_failure(request.scope),
    )


def answer_newer_version(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Exception handler: what is asked for was written by a newer version than this process is."""
    _log_failure("request.newer_version", request, error)
    return answer(
        request,
        unavailable(
            "A newer version of this service wrote what this request needs, and the process that "
            "you reached is older: they are being replaced right now. Nothing was changed. Send "
            "the request again."
        ),
    )


def _answer_framework(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    if error.status_code >= 500:
        return _answer_unforeseen(request, error)
    headers = {name.title(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 404:
        failure = nothing_here()
    elif error.status_code == 405:
        allowed = ", ".join(sorted(headers.get("Allow", "").split(", ")))
        failure = ApiError(
            405,
            f"{request.method} is not possible at this path; possible: {allowed}.",
            headers={"Allow": allowed},
        )
    else:
        failure = ApiError(400, f"{error.detail.rstrip('.')}.", headers=headers)
    return answer(request, failure)


def _answer_database_unavailable(request: AnyRequest, error: psycopg.Error) -> Response[bytes]:
    if isinstance(error, (PoolTimeout, TooManyRequests)):
        # It was waited for in vain, like by all others at the time: no frame says more.
        _log_failure("request.no_connection", request)
    else:
        _log_failure("request.database_away", request, error)
    return answer(request, database_unavailable())


def _answer_unforeseen(request: AnyRequest, error: Exception) -> Response[bytes]:
    _log_failure("request.failed", request, error)
    return answer(request, unforeseen(request_id(request.scope)))


def _log_failure(event: str, request: AnyRequest, error: Exception | None = None) -> None:
    # The template and not the path, never the query: people stand in both.
    log.error(
        event,
        exc_info=error,
        request_id=request_id(request.scope),
        method=request.method,
        route=request.scope.get("path_template"),
    )
