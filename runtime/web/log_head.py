"""`/log/head`: the newest signed head of the log, for whoever wants to keep it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from litestar import HttpMethod, Response, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from runtime.web.fixed_document import FixedDocument
from runtime.web.problems import AnyRequest, ApiError

BRIEFLY: Final = "public, max-age=10"
"""Anybody may keep it so long without asking again."""


class PublishedHeads(Struct, frozen=True, kw_only=True):
    """How the newest signed head is found; None where heads are not published."""

    newest: Callable[[], Awaitable[bytes | None]] | None


def no_head() -> ApiError:
    """404: heads are not published here, or none was signed yet."""
    return ApiError(404, "No signed head of the log is published here.")


@route("/log/head", http_method=[HttpMethod.GET, HttpMethod.HEAD], opt={"public": True})
async def log_head(
    request: AnyRequest, published_heads: NamedDependency[PublishedHeads]
) -> Response[bytes]:
    """The newest signed head of the log."""
    found = await published_heads.newest() if published_heads.newest is not None else None
    if found is None:
        raise no_head()
    return FixedDocument(found, cache_control=BRIEFLY).answer(request)


ROUTES: Final[Sequence[HTTPRouteHandler]] = (log_head,)
