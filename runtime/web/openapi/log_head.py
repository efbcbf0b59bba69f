"""The call for the newest signed head, in the API's OpenAPI document."""

from collections.abc import Mapping

from runtime.readable import Json
from runtime.web.log_head import no_head
from runtime.web.openapi.kit import Answer, Description, Operation, failure, ref
from runtime.web.openapi.parameters import parameter_refs

_HEADERS = ("Document-ETag", "Cache-Control-Briefly")


def describe_log_head(schema: Json, example: Mapping[str, object]) -> Description:
    """What there is to say of it, when a head has this schema."""
    answer = Answer(
        description="The head, byte for byte as it was signed and kept.",
        schema=ref("SignedHead"),
        examples={"first": {"value": dict(example)}},
        headers=_HEADERS,
    )
    operation = Operation(
        tag="Service",
        description="For an auditor to keep: the log can never be rewritten unnoticed before it. "
        "It tells how many events there are in all, and so is there only where "
        "`CUSTOMERS_PUBLISH_HEADS` says so.",
        parameters=parameter_refs("If-None-Match-Document"),
        answers={
            200: answer,
            304: Answer(description="You have it already.", headers=_HEADERS),
        },
        failures=("no_head", "unavailable"),
    )
    return Description(
        operations={"log_head": operation},
        failures={"no_head": failure(no_head(), "/log/head")},
        schemas={"SignedHead": schema},
    )
