"""`/docs`: the API on one page that needs nothing from elsewhere."""

from pathlib import Path
from typing import Final

from litestar import HttpMethod, MediaType, Response, route

_PAGE: Final = (Path(__file__).parent / "docs.html").read_bytes()


@route("/docs", http_method=[HttpMethod.GET, HttpMethod.HEAD], opt={"public": True})
async def docs() -> Response[bytes]:
    """What can be called, and how."""
    return Response(_PAGE, media_type=MediaType.HTML)
