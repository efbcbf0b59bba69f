"""`/openapi.json`: what the API does, exactly, for the programs of those who call it.

Paths, methods, scopes and names of the calls are those of the routes themselves; each side says the
rest of its own, and every limit is the constant that the code checks.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Final, TypeVar

import msgspec
from litestar import HttpMethod, Response, route
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from runtime.readable import Json
from runtime.web.authentication import KEY_HEADER
from runtime.web.fixed_document import FixedDocument
from runtime.web.openapi.headers import ANSWER_HEADERS, header_refs
from runtime.web.openapi.kit import Answer, Description, FailureExample, Operation
from runtime.web.openapi.parameters import PARAMETERS, parameter_refs
from runtime.web.openapi.problems import (
    FAILURES,
    SCHEMAS,
    failure_answers,
    failures_of_key,
    scope_failures,
)
from runtime.web.problems import AnyRequest

_PLACEHOLDER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ALWAYS: Final = ("X-Request-Id", "Cache-Control", "X-Content-Type-Options")
_RATE: Final = ("RateLimit-Policy", "RateLimit")
_ABOUT: Final = """\
Customers of a workspace: create, update, list and bulk import them.

Every call takes the header `X-Api-Key`. A key belongs to one workspace, live (`sk_live_…`) or \
sandbox (`sk_test_…`). A key without scopes may do everything; scopes restrict only when set.

Bodies are JSON in UTF-8. Answers come in an envelope: `success`, `status_code`, `message`, \
`data`, `meta`; failures have `errors`, and the members of RFC 9457 beside them. They come as \
`application/problem+json` when `Accept` asks for it. Codes and kinds of problems may become more: \
treat one that you do not know by its status.

A read shows every write of its workspace that had answered before. `HEAD` works wherever `GET` \
does; `OPTIONS` answers 204 and names the methods of a path in `Allow`. What is not here is 404; a \
method that is not here is 405 and names in `Allow` those that are.
"""

T = TypeVar("T")


class _Call(Struct, frozen=True, kw_only=True):
    """One operation of the document: a method of a route."""

    name: str
    path: str
    method: str
    handler: HTTPRouteHandler
    operation: Operation

    @property
    def has_body(self) -> bool:
        """Whether its answers have bodies."""
        return self.method != "HEAD"

    @property
    def scope(self) -> str | None:
        """What its key must be allowed; None for a call without a key."""
        return None if self.handler.opt.get("public") else self.handler.opt["scope"]


def describe(routes: Sequence[HTTPRouteHandler], descriptions: Sequence[Description]) -> Json:
    """The document of these routes.

    Raises KeyError for a route that nobody describes, ValueError for a contradiction.
    """
    operations = _merged([description.operations for description in descriptions])
    calls = list(_calls(routes, operations))
    scopes = sorted({call.scope for call in calls if call.scope is not None})
    failures = _merged(
        [FAILURES, scope_failures(scopes), *(description.failures for description in descriptions)]
    )
    paths: dict[str, Json] = {}
    responses: list[Json] = []
    for call in calls:
        operation, components = _operation(call, operations, failures)
        paths.setdefault(call.path, {})[call.method.lower()] = operation
        responses.append(components)
    schemas = [SCHEMAS, *(description.schemas for description in descriptions)]
    parameters = [PARAMETERS, *(description.parameters for description in descriptions)]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Customers API",
            "version": version("customers"),
            "description": _ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": _merged(schemas),
            "parameters": _merged(parameters),
            "headers": ANSWER_HEADERS,
            "responses": dict(sorted(_merged(responses).items())),
            "securitySchemes": {"ApiKey": _api_key(scopes)},
        },
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
    }


_TAGS: Final = {
    "Customers": "One customer, by its id.",
    "External ids": "The same by your own id, percent-encoded (`%2F` too).",
    "Lists": "Many customers at once.",
    "Events": "What happened, for subscribers: the events, and what describes them.",
    "Service": "The service itself; no key is needed.",
}


def _api_key(scopes: Sequence[str]) -> Json:
    names = ", ".join(f"`{scope}`" for scope in scopes)
    return {
        "type": "apiKey",
        "in": "header",
        "name": KEY_HEADER,
        "description": f"Each call names the scope that it needs, one of {names}. A key without "
        "any scope may do everything.",
    }


def _merged(some: Iterable[Mapping[str, T]]) -> dict[str, T]:
    """Everything by its name; raises ValueError when two differ under one name."""
    merged: dict[str, T] = {}
    for mapping in some:
        for name, value in mapping.items():
            if merged.setdefault(name, value) != value:
                raise ValueError(f"{name} is described twice, and not in the same way.")
    return merged


def _calls(
    routes: Sequence[HTTPRouteHandler], operations: Mapping[str, Operation]
) -> Iterator[_Call]:
    for handler in routes:
        name = handler.fn.__name__
        for path in _paths(handler):
            for method in sorted(map(str, handler.http_methods), key=_METHODS.index):
                yield _Call(
                    name=name,
                    path=path,
                    method=method,
                    handler=handler,
                    operation=operations[name],
                )


def _paths(handler: HTTPRouteHandler) -> Iterator[str]:
    """As the document writes them. Leaves out the path that only lacks its last parameter."""
    for path in handler.paths:
        written = _PLACEHOLDER.sub(r"{\1}", path)
        if not any(other.startswith(f"{path}/") for other in handler.paths):
            yield written


def _operation(
    call: _Call, operations: Mapping[str, Operation], failures: Mapping[str, FailureExample]
) -> tuple[Json, Json]:
    """What the document says of a call, and the components that it refers to for failures."""
    operation, has_body, scope = call.operation, call.has_body, call.scope
    described: Json = {
        "operationId": call.name if has_body else f"head_{call.name}",
        "summary": (call.handler.fn.__doc__ or "").strip().splitlines()[0],
        "description": operation.description if has_body else "The headers of GET, and no body.",
        "tags": [operation.tag],
        "security": [] if scope is None else [{"ApiKey": [scope]}],
        "parameters": [*operation.parameters, *parameter_refs("X-Request-Id", "traceparent")],
    }
    if operation.body is not None:
        body = operation.body
        content: Json = {"schema": body.schema, "examples": body.examples}
        described["requestBody"] = {
            "description": body.description,
            "required": True,
            "content": dict.fromkeys(body.media_types, content),
        }
    answers = {
        str(status): _success(answer, operations, has_body=has_body, is_open=scope is None)
        for status, answer in operation.answers.items()
    }
    names = [*operation.failures, *(["internal"] if scope is None else failures_of_key(scope))]
    components: Json = {}
    for status, (name, answer) in failure_answers(names, failures, has_body=has_body).items():
        answers[str(status)] = {"$ref": f"#/components/responses/{name}"}
        components[name] = answer
    return described | {"responses": answers}, components


def _success(
    answer: Answer, known: Mapping[str, Operation], *, has_body: bool, is_open: bool
) -> Json:
    headers = [*_ALWAYS, *(() if is_open else _RATE), *answer.headers]
    made: Json = {"description": answer.description, "headers": header_refs(*headers)}
    if answer.schema is not None and has_body:
        content: Json = {"schema": answer.schema}
        if answer.examples:
            content["examples"] = answer.examples
        made["content"] = dict.fromkeys(answer.media_types, content) | dict(answer.other_forms)
    # A process that serves one side has no calls of the other to go on to.
    links = {name: way for name, way in answer.links.items() if way["operationId"] in known}
    return made | ({"links": links} if links and has_body else {})


def with_document(
    routes: Sequence[HTTPRouteHandler], descriptions: Sequence[Description]
) -> list[HTTPRouteHandler]:
    """These routes, and the one that answers their document."""

    @cache
    def document() -> FixedDocument:
        return FixedDocument(msgspec.json.encode(describe(all_routes, descriptions)))

    @route("/openapi.json", http_method=[HttpMethod.GET, HttpMethod.HEAD], opt={"public": True})
    async def openapi(request: AnyRequest) -> Response[bytes]:
        """This document."""
        return document().answer(request)

    all_routes = [*routes, openapi]
    return all_routes
