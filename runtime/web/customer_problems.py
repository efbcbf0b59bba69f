"""404 and 410 for one customer: both sides answer them, in the same words."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from runtime.web.problems import ApiError

SoughtBy: TypeAlias = Literal["id", "external_id"]


def customer_not_found(sought_by: SoughtBy, meta: Mapping[str, object] | None = None) -> ApiError:
    """404: unknown, deleted, or another workspace's."""
    return ApiError("customer_not_found", f"No customer has this {sought_by}.", meta=meta)


def customer_not_then(meta: Mapping[str, object] | None = None) -> ApiError:
    """404 of a question about the past; the same words whatever the customer is now."""
    message = "No customer had this id then. Its history, if there is one, says when it was there."
    return ApiError("customer_not_found", message, meta=meta)


def customer_erased(meta: Mapping[str, object] | None = None) -> ApiError:
    """410: the workspace had the customer."""
    return ApiError("customer_erased", "This customer was erased.", meta=meta)
