"""What both sides say of a customer, in the API's OpenAPI document."""

from typing import Final, cast

from litestar.types import Scope

from runtime.readable import Json
from runtime.web.customer_problems import customer_erased, customer_not_found
from runtime.web.envelope import BASE_PATH
from runtime.web.openapi.kit import (
    EXAMPLE_PATH,
    NO_CONTROL,
    Description,
    failure,
    raised_by,
    ref,
    success_schema,
)
from runtime.web.paths import read_customer_id, read_external_id

ID_OF_ANSWER: Final = {"customer_id": "$response.body#/data/id"}
"""The parameters of a link to a call for the same customer."""
_EXTERNAL_ID: Final = "cust-001"
_CUSTOMERS: Final = f"{BASE_PATH}/customers"
_EXTERNAL_PATH: Final = f"{_CUSTOMERS}/external/{_EXTERNAL_ID}"


def describe_customer(schema: Json, external_id_max: int) -> Description:
    """The customer in answers, its ids in paths, and the failures that are about either.

    What a customer is, the caller says: nothing here knows the events.
    """
    malformed_path = f"{_CUSTOMERS}/external/%00"
    malformed = cast(Scope, {"raw_path": malformed_path.encode("ascii")})
    return Description(
        failures={
            "malformed_id": failure(
                raised_by(lambda: read_customer_id("4711")), f"{_CUSTOMERS}/4711"
            ),
            "malformed_external_id": failure(
                raised_by(lambda: read_external_id(malformed, external_id_max)), malformed_path
            ),
            "customer_not_found": failure(customer_not_found("id"), EXAMPLE_PATH),
            "external_id_not_found": failure(customer_not_found("external_id"), _EXTERNAL_PATH),
            "customer_erased": failure(customer_erased(), EXAMPLE_PATH),
        },
        schemas={
            "Customer": schema,
            "CustomerAnswer": success_schema(ref("Customer"), ref("Meta")),
        },
        parameters={"external_id": _external_id_parameter(external_id_max)},
    )


def _external_id_parameter(length_max: int) -> Json:
    return {
        "name": "external_id",
        "in": "path",
        "required": True,
        "description": "Your own id of the customer, percent-encoded; a slash as `%2F`.",
        "schema": {
            "type": "string",
            "pattern": NO_CONTROL,
            "minLength": 1,
            "maxLength": length_max,
        },
        "example": _EXTERNAL_ID,
    }
