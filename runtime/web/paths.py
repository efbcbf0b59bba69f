"""Ids in the path of a request."""

from typing import Annotated, TypeAlias
from uuid import UUID

from litestar.params import PathParameter

from runtime.field_error import FieldError
from runtime.web.problems import ApiError

CustomerIdText: TypeAlias = Annotated[str, PathParameter(description="UUID of a customer.")]


def read_customer_id(text: str) -> UUID:
    """The id in a path; raises ApiError 400 when it is no UUID in its usual form."""
    try:
        customer_id = UUID(text)
    except ValueError:
        customer_id = None
    if customer_id is None or str(customer_id) != text.lower():
        words = "A customer's id is a UUID such as 01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21."
        error = FieldError(field="customer_id", error=words, code="invalid_id")
        raise ApiError(400, "The id of the customer is malformed.", errors=[error])
    return customer_id
