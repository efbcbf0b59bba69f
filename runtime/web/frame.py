"""Puts the frame around a Litestar app: keys, scopes, failures, the headers of every answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from litestar import Response
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.plugins import InitPlugin
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Struct, field

from runtime.places import NoPlace
from runtime.readable import Json
from runtime.web.admission import ADMISSION, Admission
from runtime.web.authentication import Authentication, require_key, require_scope
from runtime.web.docs import docs, docs_asset, docs_events
from runtime.web.headers import request_id
from runtime.web.health import Check, health_routes
from runtime.web.json_body import BULK_LIMIT
from runtime.web.openapi.document import describe, with_document
from runtime.web.openapi.kit import Description
from runtime.web.openapi.service import SERVICE
from runtime.web.preferences import preference_applied
from runtime.web.problem_pages import problem_page
from runtime.web.problems import exception_handlers
from runtime.web.rate_limit import RateLimit, limit_rate, tell_rate


class Part(Struct, frozen=True, kw_only=True):
    """What one side adds to an app: routes, what they ask for by name, how they refuse.

    `description` says of each route what stands in the OpenAPI document.
    """

    routes: Sequence[HTTPRouteHandler]
    description: Description
    dependencies: Mapping[str, object] = field(default_factory=dict[str, object])
    refusals: dict[int | type[Exception], Callable[..., Response[bytes]]] = field(
        default_factory=dict[int | type[Exception], Callable[..., Response[bytes]]]
    )


class Watcher(Protocol):
    """Who is told of every request, whatever becomes of it."""

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Goes around all other middleware, of the requests that have a route."""
        ...

    async def before_send(self, message: Message, scope: Scope) -> None:
        """Sees what is sent to everybody."""
        ...


class Shown(Struct, frozen=True, kw_only=True):
    """What an app tells everybody, beside its answers."""

    docs: bool = True
    """The pages and documents about its calls; without them their paths are not there."""
    health_details: bool = True
    """What was checked to say whether it is ready."""


EVERYTHING: Final = Shown()


class Frame(InitPlugin):
    """The plugin that every app of ours is made with: `Litestar(plugins=[Frame(…)])`."""

    def __init__(
        self,
        authentication: Authentication,
        checks: Sequence[Check] = (),
        parts: Sequence[Part] = (),
        rate_limit: RateLimit | None = None,
        shown: Shown = EVERYTHING,
        admission: Admission | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self._authentication = authentication
        self._checks = checks
        self._parts = parts
        self._rate_limit = rate_limit
        self._shown = shown
        self._admission = admission
        self._watchers = watchers

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add what the frame consists of to the app's own configuration."""
        app_config.debug = False
        app_config.logging_config = None
        app_config.request_max_body_size = BULK_LIMIT
        app_config.exception_handlers.update(exception_handlers())
        app_config.before_send.append(add_headers)
        app_config.before_send.extend(watcher.before_send for watcher in self._watchers)
        app_config.middleware[:0] = [
            *(watcher.middleware for watcher in self._watchers),
            answer_options,
            require_key(self._authentication),
            *self._limit_rate(app_config),
            require_scope,
            *self._admit(app_config),
        ]
        app_config.route_handlers.extend(all_routes(self._parts, self._checks, self._shown))
        for part in self._parts:
            app_config.exception_handlers.update(part.refusals)
            for name, collaborator in part.dependencies.items():
                app_config.dependencies[name] = _provide(collaborator)
        return app_config

    def _limit_rate(self, app_config: AppConfig) -> list[Callable[[ASGIApp], ASGIApp]]:
        if self._rate_limit is None:
            return []
        app_config.before_send.append(tell_rate(self._rate_limit, self._authentication))
        return [limit_rate(self._rate_limit)]

    def _admit(self, app_config: AppConfig) -> list[Callable[[ASGIApp], ASGIApp]]:
        if self._admission is None:
            return []
        if self._rate_limit is not None:
            self._admission.rate_policy = self._rate_limit.policy
        app_config.state[ADMISSION] = self._admission
        app_config.exception_handlers[NoPlace] = self._admission.answer_no_place
        return [self._admission.admit]


def all_routes(
    parts: Sequence[Part], checks: Sequence[Check] = (), shown: Shown = EVERYTHING
) -> list[HTTPRouteHandler]:
    """Those of the parts and those that every app has, the one for their document included."""
    service = (*health_routes(checks, has_details=shown.health_details), problem_page)
    of_parts = [route for part in parts for route in part.routes]
    if not shown.docs:
        return [*service, *of_parts]
    routes = [*service, docs, docs_events, docs_asset, *of_parts]
    return with_document(routes, _descriptions(parts))


def document_of(parts: Sequence[Part]) -> Json:
    """The OpenAPI document of an app with these parts."""
    return describe(all_routes(parts), _descriptions(parts))


def _descriptions(parts: Sequence[Part]) -> list[Description]:
    return [SERVICE, *(part.description for part in parts)]


def _provide(collaborator: object) -> Provide:
    return Provide(lambda: collaborator, sync_to_thread=False)


def answer_options(app: ASGIApp) -> ASGIApp:
    """Middleware: OPTIONS names every method of the path, to everybody.

    The framework's own answer forgets those of handlers that were added later.
    """

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "OPTIONS":
            await app(scope, receive, send)
            return
        routes = (
            route
            for route in scope["litestar_app"].routes
            if route.path_format == scope["path_template"]
        )
        methods = ", ".join(sorted({str(method) for route in routes for method in route.methods}))
        await ASGIResponse(status_code=204, headers={"Allow": methods})(scope, receive, send)

    return check


async def add_headers(message: Message, scope: Scope) -> None:
    """Headers of every answer, those that the framework gives by itself included."""
    if message["type"] != "http.response.start":
        return
    headers = [
        *message["headers"],
        (b"x-request-id", request_id(scope).encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
    ]
    if all(name.lower() != b"cache-control" for name, _ in headers):
        headers.append((b"cache-control", b"no-store"))
    applied = preference_applied(scope)
    if applied is not None:
        headers.append((b"preference-applied", applied.encode("ascii")))
    message["headers"] = headers
