"""How a read that cannot be answered is told over HTTP."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from litestar import Response

from query_side.freshness import NotShownYet
from query_side.queries import NoReadModel
from query_side.reads import LostHistory
from runtime.web.problems import AnyRequest, ApiError, answer, away

Refusal: TypeAlias = NoReadModel | NotShownYet | LostHistory


def api_error_of(refusal: Refusal) -> ApiError:
    """The answer that a refusal gets."""
    if isinstance(refusal, LostHistory):
        return ApiError("lost_history", str(refusal))
    return away(str(refusal))


def refuse(request: AnyRequest, refusal: Refusal) -> Response[bytes]:
    """Exception handler of an app with the query side's routes."""
    return answer(request, api_error_of(refusal))


def customer_not_found(
    sought_by: Literal["id", "external_id"], meta: Mapping[str, object] | None = None
) -> ApiError:
    """404: unknown, deleted, or another workspace's."""
    return ApiError("customer_not_found", f"No customer has this {sought_by}.", meta=meta)


def customer_erased(meta: Mapping[str, object] | None = None) -> ApiError:
    """410: the workspace had the customer."""
    return ApiError("customer_erased", "This customer was erased.", meta=meta)
