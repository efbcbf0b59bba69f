"""Failures in the API's OpenAPI document: their shapes, and those that the frame itself answers.

Every example is what the service answers, made by the code that answers it.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

import msgspec

from runtime.field_error import FieldError
from runtime.readable import Json
from runtime.web.accept import JSON, PROBLEM_JSON
from runtime.web.authentication import invalid_key, missing_scope
from runtime.web.openapi.headers import header_refs
from runtime.web.openapi.kit import (
    EXAMPLE_REQUEST_ID,
    FailureExample,
    described,
    failure,
    object_schema,
    ref,
)
from runtime.web.problem_types import PROBLEMS
from runtime.web.problems import database_unavailable, unforeseen
from runtime.web.rate_limit import too_many_requests

_HEADERS_OF: Final[dict[int, Sequence[str]]] = {
    401: ["WWW-Authenticate"],
    409: ["Retry-After-In-Progress"],
    412: ["Current-ETag"],
    415: ["Accept", "Accept-Encoding"],
    429: ["Retry-After"],
    503: ["Retry-After"],
}
_SCHEMA_OF: Final = {401: "KeyProblem", 403: "KeyProblem", 409: "Conflict", 412: "VersionMismatch"}

_RFC_9457: Final[dict[str, Json]] = {
    "type": {
        "type": "string",
        "format": "uri-reference",
        "description": "Which kind of problem this is: the path of a page about it. There may "
        "be new ones.",
        "examples": [f"/problems/{code}" for code in PROBLEMS],
    },
    "title": {"type": "string", "description": "The kind of problem in a few words."},
    "status": {"type": "integer", "description": "The HTTP status."},
    "detail": {"type": "string", "description": "What is wrong with this request."},
    "instance": {
        "type": "string",
        "description": "The path of the request; not there when that could not be read as HTTP.",
    },
}
META: Final[dict[str, Json]] = {
    "request_id": {"type": "string", "description": "The same as the header X-Request-Id."},
    "warnings": {
        "type": "array",
        "items": {"type": "string"},
        "description": "What of the request was ignored, and why. Only there when something was.",
    },
    "stale": {
        "type": "boolean",
        "const": True,
        "description": "Only there when the answer may not show the newest writes.",
    },
}
_PROBLEM: Final[dict[str, Json]] = {
    "success": {"type": "boolean", "const": False},
    "status_code": {"type": "integer", "description": "The HTTP status."},
    "message": {"type": "string", "description": "What failed and what to do, for people."},
    "errors": {"type": "array", "items": ref("FieldError")},
    "meta": ref("Meta"),
}
_EXISTING_ID: Final[Json] = {
    "type": "string",
    "format": "uuid",
    "description": "The id of the customer that has this external_id; only for that conflict.",
}
_CURRENT_VERSION: Final[Json] = {
    "type": ["integer", "null"],
    "description": "The version of the customer now; null when there is none.",
}
_REQUIRED: Final = [*_PROBLEM, "type", "title", "status", "detail"]

SCHEMAS: Final[dict[str, Json]] = {
    "FieldError": described(
        FieldError,
        "One thing wrong with the request.",
        field={"description": "The member, parameter or header, as the client spelled it."},
        error={"description": "What is wrong, for people."},
        code={
            "description": "What is wrong, for programs: codes never change, and there may be "
            "new ones.",
            "examples": ["invalid_email", "required", "too_long"],
        },
        pointer={
            "description": "Where in the body (RFC 6901); null for what is not in the body.",
            "examples": ["/email"],
        },
    ),
    "Meta": object_schema(META, required=["request_id"]),
    "Problem": object_schema(_PROBLEM | _RFC_9457, required=_REQUIRED),
    "Conflict": object_schema(
        _PROBLEM | {"existing_id": _EXISTING_ID} | _RFC_9457, required=[*_REQUIRED, "instance"]
    ),
    "VersionMismatch": object_schema(
        _PROBLEM | {"current_version": _CURRENT_VERSION} | _RFC_9457,
        required=[*_REQUIRED, "instance", "current_version"],
    ),
    "KeyProblem": object_schema(
        {"detail": _RFC_9457["detail"], "meta": ref("Meta")} | _RFC_9457,
        required=["detail", "meta", "type", "title", "status", "instance"],
    ),
}


_COMMON: Final = ("X-Request-Id", "Cache-Control", "X-Content-Type-Options", "Vary")
_BEFORE_PREFERENCES: Final = (401, 403, 429)
_RATE: Final = ("RateLimit-Policy", "RateLimit")


def _missing(scope: str) -> str:
    return f"missing_scope.{scope.partition(':')[2]}"


FAILURES: Final[dict[str, FailureExample]] = {
    "invalid_key": failure(invalid_key()),
    "rate_limited": failure(too_many_requests(6000, 1)),
    "internal": failure(unforeseen(EXAMPLE_REQUEST_ID)),
    "unavailable": failure(database_unavailable()),
}


def scope_failures(scopes: Iterable[str]) -> dict[str, FailureExample]:
    """For each of these scopes, what a key without it is answered."""
    return {_missing(scope): failure(missing_scope(scope)) for scope in scopes}


def failures_of_key(scope: str) -> list[str]:
    """Names of the failures that every call with a key may answer."""
    return ["invalid_key", _missing(scope), "rate_limited", "internal", "unavailable"]


def failure_answers(
    names: Sequence[str], known: Mapping[str, FailureExample], *, has_body: bool
) -> dict[int, tuple[str, Json]]:
    """By status, the answer that is one of these failures, and its name among the components."""

    def status_of(name: str) -> int:
        return PROBLEMS[known[name].code].status

    answers: dict[int, tuple[str, Json]] = {}
    for status, group in groupby(sorted(names, key=status_of), key=status_of):
        same = {name: known[name] for name in group}
        codes = list(dict.fromkeys(failure.code for failure in same.values()))
        answer = _answer(status, codes)
        if has_body:
            content: Json = {
                "schema": ref(_SCHEMA_OF.get(status, "Problem")),
                "examples": {name: _example(failure) for name, failure in same.items()},
            }
            answer["content"] = {JSON: content, PROBLEM_JSON: content}
        name = "_or_".join(same) if has_body else "_or_".join(codes) + ".head"
        answers[status] = name, answer
    return answers


def _answer(status: int, codes: Sequence[str]) -> Json:
    kinds = [PROBLEMS[code] for code in codes]
    headers = [*_COMMON, *_HEADERS_OF.get(status, ())]
    headers += _RATE[:1] if status == 401 else _RATE
    headers += () if status in _BEFORE_PREFERENCES else ("Preference-Applied",)
    return {
        "description": " — Or: ".join(f"{kind.title}: {kind.meaning}" for kind in kinds),
        "headers": header_refs(*headers),
    }


def _example(failure: FailureExample) -> Json:
    return {"summary": PROBLEMS[failure.code].title, "value": msgspec.json.decode(failure.body)}
