"""`/metrics`: what Prometheus asks for."""

import hmac
from collections.abc import Sequence
from typing import Final

from litestar import HttpMethod, Litestar, Response, route
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from runtime.telemetry.metrics import Metrics
from runtime.web.headers import header
from runtime.web.problems import AnyRequest, ApiError, exception_handlers

_BEARER: Final = b"bearer "


class ServedMetrics(Struct, frozen=True, kw_only=True):
    """What is told, and what must be sent to be told it; an empty token: nothing."""

    metrics: Metrics
    token: str = ""


def wrong_token() -> ApiError:
    """401: the metrics are only for who has the token."""
    return ApiError(
        "wrong_metrics_token",
        "These metrics are read with a token: Authorization: Bearer …",
        headers={"WWW-Authenticate": "Bearer"},
    )


@route("/metrics", http_method=[HttpMethod.GET, HttpMethod.HEAD], opt={"public": True})
async def metrics(
    request: AnyRequest, served_metrics: NamedDependency[ServedMetrics]
) -> Response[bytes]:
    """How this process does, for Prometheus."""
    token = served_metrics.token.encode()
    if token and not _is_given(token, header(request.scope, b"authorization")):
        raise wrong_token()
    accept = header(request.scope, b"accept") or b""
    page, content_type = await served_metrics.metrics.page(accept.decode("latin-1"))
    # The framework says the charset of every text by itself.
    text = content_type.removesuffix("; charset=utf-8")
    return Response(page, media_type=text if text.startswith("text/") else content_type)


def _is_given(token: bytes, given: bytes | None) -> bool:
    if given is None or given[: len(_BEARER)].lower() != _BEARER:
        return False
    return hmac.compare_digest(given[len(_BEARER) :].strip(), token)


ROUTES: Final[Sequence[HTTPRouteHandler]] = (metrics,)


def metrics_app(served: ServedMetrics) -> Litestar:
    """An app with nothing but the metrics, for a port of their own."""
    return Litestar(
        route_handlers=[metrics],
        dependencies={"served_metrics": Provide(lambda: served, sync_to_thread=False)},
        exception_handlers=exception_handlers(),
        logging_config=None,
        openapi_config=None,
        debug=False,
    )
