"""How a read that cannot be answered is answered over HTTP."""

from typing import Final, TypeAlias

from litestar import Response

from query_side.access_log import AccessNotRecorded
from query_side.freshness import NotShownYet
from query_side.past import MomentToCome
from query_side.queries import NoReadModel
from query_side.reads import HistoryGone
from runtime.field_error import FieldError
from runtime.web.problems import AnyRequest, ApiError, answer, invalid_request, unavailable

Refusal: TypeAlias = NoReadModel | NotShownYet | HistoryGone | AccessNotRecorded | MomentToCome
REFUSALS: Final = (NoReadModel, NotShownYet, HistoryGone, AccessNotRecorded, MomentToCome)


TO_COME: Final = FieldError(
    field="as_of",
    error="as_of is a moment that is still to come. To see what is now, leave it out.",
    code="in_the_future",
)


def api_error_of(refusal: Refusal) -> ApiError:
    """The answer that a refusal gets."""
    if isinstance(refusal, HistoryGone):
        return ApiError("lost_history", str(refusal))
    if isinstance(refusal, MomentToCome):
        return invalid_request([TO_COME])
    return unavailable(str(refusal))


def refuse(request: AnyRequest, refusal: Refusal) -> Response[bytes]:
    """Exception handler of an app with the query side's routes."""
    return answer(request, api_error_of(refusal))
