"""The calls that are about the service itself, in the API's OpenAPI document."""

from typing import Final

from runtime.readable import Json
from runtime.web.docs import ASSETS
from runtime.web.openapi.kit import (
    Answer,
    Description,
    Operation,
    failure,
    object_schema,
    ref,
)
from runtime.web.openapi.parameters import parameter_refs
from runtime.web.problem_pages import unknown_problem
from runtime.web.problem_types import PROBLEMS
from runtime.web.problems import nothing_here

_PAGE: Final = Answer(
    description="The page.",
    schema={"type": "string"},
    media_types=("text/html",),
    headers=("Content-Security-Policy",),
)
_CHECK: Final = object_schema(
    {"ok": {"type": "boolean"}, "detail": {"type": "string"}}, required=["ok", "detail"]
)


def _named(name: str, description: str, **schema: object) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", **schema},
    }


def _health(description: str, example: Json) -> Answer:
    return Answer(
        description=description, schema=ref("Health"), examples={"example": {"value": example}}
    )


def _checks(status: str, *, ok: bool, detail: str) -> Json:
    return {"status": status, "checks": {"database": {"ok": ok, "detail": detail}}}


SERVICE: Final = Description(
    operations={
        "live": Operation(
            tag="Service",
            description="For a supervisor that starts a hanging process again.",
            answers={200: _health("The process lives.", {"status": "live"})},
        ),
        "ready": Operation(
            tag="Service",
            description="For a load balancer. `degraded` is 200 too: the process still answers.",
            answers={
                200: _health("Work can be done.", _checks("ready", ok=True, detail="answers")),
                503: _health(
                    "Nothing can be answered now.",
                    _checks("not ready", ok=False, detail="cannot be reached"),
                ),
            },
        ),
        "problem_page": Operation(
            tag="Service",
            description="Where the `type` of a failure leads.",
            parameters=(_named("code", "The kind of problem.", examples=list(PROBLEMS)),),
            answers={200: _PAGE},
            failures=("unknown_problem",),
        ),
        "docs": Operation(
            tag="Service", description="It loads nothing from elsewhere.", answers={200: _PAGE}
        ),
        "docs_events": Operation(
            tag="Service", description="It loads nothing from elsewhere.", answers={200: _PAGE}
        ),
        "docs_asset": Operation(
            tag="Service",
            description="Served from here, like the page.",
            parameters=(_named("name", "The name of the file.", enum=list(ASSETS)),),
            answers={
                200: Answer(
                    description="The file.",
                    schema={"type": "string"},
                    media_types=tuple(dict.fromkeys(kind for kind, _ in ASSETS.values())),
                    headers=("Content-Security-Policy",),
                )
            },
            failures=("nothing_here",),
        ),
        "openapi": Operation(
            tag="Service",
            description="OpenAPI 3.1. It describes what this process serves.",
            parameters=parameter_refs("If-None-Match-Document"),
            answers={
                200: Answer(
                    description="The document.",
                    schema=object_schema(
                        {"openapi": {"type": "string"}}, required=["openapi", "info", "paths"]
                    ),
                    headers=("Document-ETag",),
                ),
                304: Answer(description="You have it already.", headers=("Document-ETag",)),
            },
        ),
    },
    failures={
        "unknown_problem": failure(unknown_problem(), "/problems/nothing"),
        "nothing_here": failure(nothing_here(), "/docs/nothing"),
    },
    schemas={
        "Health": object_schema(
            {
                "status": {
                    "type": "string",
                    "examples": ["live", "ready", "degraded", "not ready"],
                },
                "checks": {"type": "object", "additionalProperties": _CHECK},
            },
            required=["status"],
        )
    },
)
