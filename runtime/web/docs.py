"""`/docs`: the OpenAPI document for people, on a page that loads nothing from elsewhere.

Swagger UI comes from the package offapi, which depends on nothing and is never imported: only two
of its files are read.
"""

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from litestar import HttpMethod, Response, route
from litestar.params import FromPath

from runtime.web.problems import nothing_here

_HERE: Final = Path(__file__).parent
_METHODS: Final = [HttpMethod.GET, HttpMethod.HEAD]
_HEADERS: Final = {
    # Whatever the page or the package might come to ask for elsewhere, the browser refuses it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
ASSETS: Final = {
    "docs.css": ("text/css", _HERE / "docs.css"),
    "docs.js": ("text/javascript", _HERE / "docs.js"),
    "swagger-ui.css": ("text/css", "swagger_style.css"),
    "swagger-ui-bundle.js": ("text/javascript", "swagger_bundle.js"),
}


@route("/docs", http_method=_METHODS, opt={"public": True})
async def docs() -> Response[bytes]:
    """The API for people: everything can be read and tried here."""
    return Response(_read(_HERE / "docs.html"), media_type="text/html", headers=_HEADERS)


@route("/docs/{name:str}", http_method=_METHODS, opt={"public": True})
async def docs_asset(name: FromPath[str]) -> Response[bytes]:
    """A script or a style of the page."""
    if name not in ASSETS:
        raise nothing_here()
    media_type, file = ASSETS[name]
    return Response(_read(file), media_type=media_type, headers=_HEADERS)


@cache
def _read(file: Path | str) -> bytes:
    """A file of ours, or one of Swagger UI by its name in the package."""
    if isinstance(file, Path):
        return file.read_bytes()
    return Path(str(distribution("offapi").locate_file(f"offapi/{file}"))).read_bytes()
