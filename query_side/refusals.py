"""How a read that cannot be answered is answered over HTTP."""

from typing import TypeAlias

from litestar import Response

from query_side.freshness import NotShownYet
from query_side.queries import NoReadModel
from query_side.reads import HistoryGone
from runtime.web.problems import AnyRequest, ApiError, answer, unavailable

Refusal: TypeAlias = NoReadModel | NotShownYet | HistoryGone


def api_error_of(refusal: Refusal) -> ApiError:
    """The answer that a refusal gets."""
    if isinstance(refusal, HistoryGone):
        return ApiError("lost_history", str(refusal))
    return unavailable(str(refusal))


def refuse(request: AnyRequest, refusal: Refusal) -> Response[bytes]:
    """Exception handler of an app with the query side's routes."""
    return answer(request, api_error_of(refusal))
