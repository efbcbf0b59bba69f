"""What schemathesis cannot know of this API, and two checks of our own; loaded by `st run`.

Some values only the service can give: a random one is refused, rightly, and nothing behind it would
be tested. And some rules no JSON Schema can say; a refusal for one of those is not a fault.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from uuid import uuid4

import msgspec
import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import RejectedPositiveData

from runtime.documents import api_document

DOCUMENT: Final[dict[str, Any]] = msgspec.json.decode(api_document())
AnyCase: TypeAlias = Case[Any]
KEY: Final = re.compile(
    DOCUMENT["components"]["parameters"]["Idempotency-Key"]["schema"]["pattern"]
)
SENT_BY_THE_SERVER: Final = {"content-type", "content-length", "date", "transfer-encoding"}
LONGEST_WAIT: Final = DOCUMENT["components"]["parameters"]["feed.wait"]["schema"]["maximum"]

BEYOND_SCHEMAS: Final[Mapping[str, str]] = {
    "two_spellings": "two members must agree, and schemas do not compare members",
    "other_external_id": "the body must agree with the path",
    "contact_required": "what the customer has already decides whether one may go",
    "version_mismatch": "the state of the customer decides, in an atomic bulk call too",
    "in_the_future": "the clock decides",
    "unknown_field": "Prefer: handling=strict refuses what the schema lets through",
    "read_only": "Prefer: handling=strict refuses what the schema lets through",
}

tokens: list[str] = []
customers: list[str] = []
"""Those that were made, the newest last, without those that a call was to delete or erase."""
feed_cursors: list[str] = []
queries: dict[str, dict[str, Any]] = {}
"""The query of the list that a cursor goes on with."""


@schemathesis.hook
def after_call(context: HookContext, case: AnyCase, response: Response) -> None:
    """Remember tokens, customers and cursors: they are worth sending."""
    if response.status_code == 200 and case.operation.label == "POST /api/v1/external/customers":
        customers.append(response.json()["data"]["id"])
    token = response.headers.get("x-consistency-token")
    if token:
        tokens[:] = token
    if response.status_code == 200 and case.operation.label.startswith("GET "):
        body = response.json() if "json" in response.headers["content-type"][0] else {}
        cursor = body.get("meta", {}).get("next_cursor") if isinstance(body, dict) else None
        if cursor and case.operation.path.endswith("/events"):
            if body["meta"]["has_more"]:
                feed_cursors[:] = [*feed_cursors[-9:], cursor]
        elif cursor:
            queries[cursor] = {
                name: value for name, value in case.query.items() if name not in {"page", "cursor"}
            }


@schemathesis.hook
def before_call(context: HookContext, case: AnyCase, kwargs: dict[str, Any]) -> None:
    """Put values that work in the place of random ones, unless a wrong request is meant."""
    headers = case.headers
    key = headers.get("Idempotency-Key")
    if isinstance(key, str) and KEY.fullmatch(key):
        # Else most requests would be answered with the answer to an earlier one.
        headers["Idempotency-Key"] = str(uuid4())
    if len(headers.get("Prefer", "")) % 3 == 1:
        # By chance it would never come to that.
        headers["Prefer"] = "handling=strict"
    shorten_wait(case.query)
    if case.meta is not None and case.meta.generation.mode.is_positive:
        mend_customer(case.method, case.path_parameters)
        mend_headers(headers)
        mend_query(case.query)
        mend_past(case.query)
        if case.operation.path.endswith(("/events", "/events/stream")):
            mend_feed(case.query, headers)
        mend_rows(case.body)


def mend_customer(method: str, path: dict[str, Any]) -> None:
    """A customer that exists; what takes one away takes the oldest."""
    if "customer_id" in path and customers and path["customer_id"] not in customers:
        is_kept = method != "DELETE" or len(customers) == 1
        path["customer_id"] = customers[-1] if is_kept else customers.pop(0)


def mend_headers(headers: Any) -> None:
    """A token that exists, and seldom a condition."""
    if "X-Consistency-Token" in headers and headers["X-Consistency-Token"] not in tokens:
        del headers["X-Consistency-Token"]
        if tokens:
            headers["X-Consistency-Token"] = tokens[0]
    for name in ("If-Match", "If-None-Match"):
        # A random condition is hardly ever met, and the coverage phase sends 0, which is none.
        if name in headers and len(headers[name]) % 4 != 3:
            del headers[name]


def mend_query(query: dict[str, Any]) -> None:
    """A cursor that exists, with its own query and no page; and no key to sort by twice."""
    if "cursor" in query:
        cursor = query.pop("cursor")
        if cursor not in queries:
            cursor = next(reversed(queries), None)
        if cursor is not None:
            query.clear()
            query.update(queries[cursor] | {"cursor": cursor})
    if isinstance(query.get("sort"), str):
        # A list in a string, whose keys must differ: no pattern says that.
        keys = {key.removeprefix("-"): key for key in query["sort"].split(",")}
        query["sort"] = ",".join(keys.values())


def mend_past(query: dict[str, Any]) -> None:
    """No list as it was with a filter or a page, and no page of a history for a spreadsheet."""
    if "as_of" in query:
        for name in set(query) - {"as_of", "per_page", "cursor", "consistency"}:
            del query[name]
    if query.get("format") == "csv":
        for name in set(query) & {"after", "limit"}:
            del query[name]


def mend_feed(query: dict[str, Any], headers: Any) -> None:
    """A place that exists and is not the end, where a stream has nothing to say for a second."""
    for given, name in ((query, "after"), (headers, "Last-Event-ID")):
        if name in given and given[name] not in feed_cursors:
            cursor = feed_cursors[0] if feed_cursors else None
            del given[name]
            if cursor is not None:
                given[name] = cursor


def shorten_wait(query: dict[str, Any]) -> None:
    """No long wait for an event, though sometimes a short one."""
    wait = str(query.get("wait", ""))
    if wait.isdecimal() and int(wait) <= LONGEST_WAIT:
        query["wait"] = int(wait) % 2


def mend_rows(body: Any) -> None:
    """No version with a decimal point: to JSON Schema 3.0 is an integer, to the service none."""
    rows = body.get("customers", []) if isinstance(body, dict) else body
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and isinstance(row.get("if_version"), float):
            row["if_version"] = int(row["if_version"])


@schemathesis.hook
def filter_failure(
    context: HookContext, failure: Failure, case: AnyCase, response: Response
) -> bool:
    """False for what is no fault: a refusal beyond schemas, or a row that failed alone."""
    if isinstance(failure, RejectedPositiveData) and response.status_code == 400:
        # An answer to HEAD does not say what is wrong, so nothing excuses it.
        errors = response.json()["errors"] if response.content else []
        return not errors or any(error["code"] not in BEYOND_SCHEMAS for error in errors)
    if isinstance(failure, AcceptedNegativeData) and case.operation.path.endswith("/bulk"):
        return response.status_code != 200 or response.json()["data"]["failed"] == 0
    return True


@schemathesis.check
def only_documented_headers(ctx: CheckContext, response: Response, case: AnyCase) -> None:
    """Every header of an answer stands in the document."""
    if case.method.lower() not in DOCUMENT["paths"][case.operation.path]:
        return
    answers = DOCUMENT["paths"][case.operation.path][case.method.lower()]["responses"]
    answer = answers.get(str(response.status_code), {})
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
    documented = {name.lower() for name in answer.get("headers", {})}
    unknown = {name.lower() for name in response.headers} - documented - SENT_BY_THE_SERVER
    assert not unknown, f"not documented for {response.status_code}: {sorted(unknown)}"


@schemathesis.check
class EveryCallSucceeds:
    """A run in which some call never succeeds tests less than it seems."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.succeeded: set[str] = set()

    def after_response(
        self,
        ctx: CheckContext,  # noqa: ARG002 - schemathesis passes it by name
        response: Response,
        case: AnyCase,
    ) -> None:
        """Note what succeeded."""
        self.seen.add(case.operation.label)
        if response.status_code < 400:
            self.succeeded.add(case.operation.label)

    def after_run(self, ctx: CheckContext) -> None:  # noqa: ARG002 - as above
        """Every call of the document was sent, and went well at least once."""
        assert self.seen == self.succeeded, sorted(self.seen - self.succeeded)
        assert len(self.seen) == sum(map(len, DOCUMENT["paths"].values()))
