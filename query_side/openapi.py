"""The reads in the API's OpenAPI document: what there is to say of each beside its route."""

from typing import Final

from events.customer import EXTERNAL_ID_MAX
from events.document_schema import customer_schema
from events.examples import example_customer
from query_side.freshness import NotShownYet
from query_side.list_query import MATCHES_MAX
from query_side.openapi_feed import (
    FEED_FAILURES,
    FEED_OPERATIONS,
    FEED_PARAMETERS,
    FEED_SCHEMAS,
)
from query_side.openapi_history import (
    AS_OF_FAILURES,
    HISTORY_FAILURES,
    HISTORY_OPERATIONS,
    HISTORY_PARAMETERS,
    HISTORY_SCHEMAS,
)
from query_side.openapi_parameters import PARAMETERS
from query_side.openapi_personal import PERSONAL_OPERATIONS, PERSONAL_SCHEMAS
from query_side.reads import LostToken
from query_side.refusals import api_error_of
from query_side.requests import PAGE_MAX, PER_PAGE_DEFAULT, PER_PAGE_MAX
from runtime.readable import Json
from runtime.web.openapi.customers import ID_OF_ANSWER, describe_customer
from runtime.web.openapi.kit import (
    EXAMPLE_ID,
    Answer,
    Description,
    FailureExample,
    Operation,
    failure,
    link,
    object_schema,
    raised_by,
    ref,
    success_example,
    success_schema,
)
from runtime.web.openapi.parameters import parameter_refs
from runtime.web.openapi.problems import META
from runtime.web.query_string import ParameterReader

_SHARED: Final = describe_customer(customer_schema(), EXTERNAL_ID_MAX)
_JANE: Final = example_customer(EXAMPLE_ID)
_CURSOR: Final = "$response.body#/meta/next_cursor"


def _asked(*names: str) -> list[Json]:
    return parameter_refs(*(f"query.{name}" for name in names))


_META: Final[dict[str, Json]] = {
    "page": {"type": "integer", "minimum": 1},
    "per_page": {"type": "integer", "minimum": 1, "maximum": PER_PAGE_MAX},
    "total": {"type": "integer", "minimum": 0, "description": "How many there are."},
    "total_pages": {"type": "integer", "minimum": 0},
    "has_next": {"type": "boolean"},
    "has_prev": {"type": "boolean"},
}
_ALSO: Final[dict[str, Json]] = {
    "page": {
        "type": ["integer", "null"],
        "minimum": 1,
        "description": "Null when `cursor` was sent.",
    },
    "next_cursor": {
        "type": ["string", "null"],
        "description": "Send it as `cursor` to go on; null at the end.",
    },
    "total_is_lower_bound": {
        "type": "boolean",
        "const": True,
        "description": f"Only there when a search has more than {MATCHES_MAX:,} matches: no more "
        "are counted, and `cursor` goes on after them.",
    },
}
_PAGE_EXAMPLE: Final[Json] = {
    "page": 1,
    "per_page": PER_PAGE_DEFAULT,
    "total": 1,
    "total_pages": 1,
    "has_next": False,
    "has_prev": False,
}
_TAG_COUNT: Final = object_schema(
    {
        "tag": {"type": "string", "description": "In its most used spelling."},
        "count": {
            "type": "integer",
            "minimum": 1,
            "description": "How many customers have it now.",
        },
    },
    required=["tag", "count"],
)
_TOKEN: Final = ("X-Consistency-Token", "Prefer")
_UNCHANGED: Final = Answer(
    description="You have this version already.", headers=("ETag", "Preference-Applied")
)


def _got(links: dict[str, Json]) -> Answer:
    message = "Customer retrieved successfully"
    return Answer(
        description=message,
        schema=ref("CustomerAnswer"),
        examples={"reference": success_example(message, _JANE)},
        headers=("ETag", "Preference-Applied"),
        links=links,
    )


def _read_page() -> None:
    reader = ParameterReader({"page": ["0"], "per_page": [str(PER_PAGE_MAX + 1)]})
    reader.number("page", 1, PAGE_MAX)
    reader.number("per_page", PER_PAGE_DEFAULT, PER_PAGE_MAX)
    reader.finish()


FAILURES: Final[dict[str, FailureExample]] = {
    "page_out_of_range": failure(raised_by(_read_page)),
    **_SHARED.failures,
    "lost_history": failure(api_error_of(LostToken())),
    "not_shown_yet": failure(api_error_of(NotShownYet())),
}
_TOKEN_FAILURES: Final = ("lost_history", "not_shown_yet")

OPERATIONS: Final[dict[str, Operation]] = {
    "list_customers": Operation(
        tag="Lists",
        description="Newest first; with `search` the best matches first. With `as_of` all as they "
        "were, and who reads that is recorded.",
        parameters=(*_asked(*PARAMETERS), *parameter_refs("as_of.list", *_TOKEN)),
        answers={
            200: Answer(
                description="Customers retrieved successfully",
                schema=ref("CustomerListAnswer"),
                examples={
                    "reference": success_example(
                        "Customers retrieved successfully",
                        [_JANE],
                        _PAGE_EXAMPLE | {"next_cursor": None},
                    )
                },
                headers=("Link", "Preference-Applied"),
                links={
                    "next": link("list_customers", "The next page.", {"cursor": _CURSOR}),
                    "get": link(
                        "get_customer",
                        "The first of them.",
                        {"customer_id": "$response.body#/data/0/id"},
                    ),
                },
            )
        },
        failures=("page_out_of_range", "lost_list", *AS_OF_FAILURES, *_TOKEN_FAILURES),
    ),
    "get_customer": Operation(
        tag="Customers",
        description="404 when unknown, deleted or another workspace's. With `as_of` as it was, and "
        "who reads that is recorded.",
        parameters=(
            *_asked("consistency"),
            *parameter_refs("customer_id", "as_of", "If-None-Match", *_TOKEN),
        ),
        answers={
            200: _got(
                {
                    "update": link("update_customer", "Change it.", ID_OF_ANSWER),
                    "delete": link("delete_customer", "Delete it.", ID_OF_ANSWER),
                    "history": link("get_history", "What happened to it.", ID_OF_ANSWER),
                }
            ),
            304: _UNCHANGED,
        },
        failures=(
            *("malformed_id", "customer_not_found", "customer_not_then", "customer_erased"),
            *AS_OF_FAILURES,
            *_TOKEN_FAILURES,
        ),
    ),
    "get_external_customer": Operation(
        tag="External ids",
        description="404 when none has it.",
        parameters=(
            *_asked("consistency"),
            *parameter_refs("external_id", "If-None-Match", *_TOKEN),
        ),
        answers={200: _got({}), 304: _UNCHANGED},
        failures=("malformed_external_id", "external_id_not_found", *_TOKEN_FAILURES),
    ),
    "list_tags": Operation(
        tag="Lists",
        description="Most used first, then by tag.",
        parameters=(*_asked("page", "per_page", "consistency"), *parameter_refs(*_TOKEN)),
        answers={
            200: Answer(
                description="Tags retrieved successfully",
                schema=ref("TagListAnswer"),
                examples={
                    "tags": success_example(
                        "Tags retrieved successfully", [{"tag": "vip", "count": 1}], _PAGE_EXAMPLE
                    )
                },
                headers=("Link", "Preference-Applied"),
            )
        },
        failures=("page_out_of_range", *_TOKEN_FAILURES),
    ),
}

DESCRIPTION: Final = Description(
    operations=OPERATIONS | HISTORY_OPERATIONS | PERSONAL_OPERATIONS | FEED_OPERATIONS,
    failures=FAILURES | HISTORY_FAILURES | FEED_FAILURES,
    schemas={
        **FEED_SCHEMAS,
        **HISTORY_SCHEMAS,
        **PERSONAL_SCHEMAS,
        **_SHARED.schemas,
        "PageMeta": object_schema(_META | META, required=[*_META, "request_id"]),
        "ListMeta": object_schema(
            _META | _ALSO | META, required=[*_META, "next_cursor", "request_id"]
        ),
        "CustomerListAnswer": success_schema(
            {"type": "array", "maxItems": PER_PAGE_MAX, "items": ref("Customer")},
            {"anyOf": [ref("ListMeta"), ref("PastListMeta")]},
        ),
        "TagCount": _TAG_COUNT,
        "TagListAnswer": success_schema(
            {"type": "array", "maxItems": PER_PAGE_MAX, "items": ref("TagCount")}, ref("PageMeta")
        ),
    },
    parameters={
        **_SHARED.parameters,
        **FEED_PARAMETERS,
        **HISTORY_PARAMETERS,
        **{f"query.{name}": parameter for name, parameter in PARAMETERS.items()},
    },
)
