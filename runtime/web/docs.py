"""`/docs` and `/docs/events`: the documents for people, on pages that load nothing from elsewhere.

Swagger UI and the viewer of AsyncAPI come from the packages offapi and asyncapi-viewer, which are
never imported: only these files of theirs are read.
"""

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from litestar import HttpMethod, Response, route
from litestar.params import FromPath
from msgspec import Struct

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


class _Packaged(Struct, frozen=True):
    """A file of a package that is installed and not imported."""

    package: str
    file: str


ASSETS: Final = {
    "docs.css": ("text/css", _HERE / "docs.css"),
    "docs.js": ("text/javascript", _HERE / "docs.js"),
    "swagger-ui.css": ("text/css", _Packaged("offapi", "offapi/swagger_style.css")),
    "swagger-ui-bundle.js": ("text/javascript", _Packaged("offapi", "offapi/swagger_bundle.js")),
    "asyncapi-viewer.js": (
        "text/javascript",
        _Packaged("asyncapi-viewer", "asyncapi_viewer/static/asyncapi-viewer.iife.js"),
    ),
}


@route("/docs", http_method=_METHODS, opt={"public": True})
async def docs() -> Response[bytes]:
    """The API for people: everything can be read and tried here."""
    return _page("docs.html")


@route("/docs/events", http_method=_METHODS, opt={"public": True})
async def docs_events() -> Response[bytes]:
    """The events for people: every subject, message and schema, with examples."""
    return _page("docs_events.html")


@route("/docs/{name:str}", http_method=_METHODS, opt={"public": True})
async def docs_asset(name: FromPath[str]) -> Response[bytes]:
    """A script or a style of the pages."""
    if name not in ASSETS:
        raise nothing_here()
    media_type, file = ASSETS[name]
    return Response(_read(file), media_type=media_type, headers=_HEADERS)


def _page(name: str) -> Response[bytes]:
    return Response(_read(_HERE / name), media_type="text/html", headers=_HEADERS)


@cache
def _read(file: Path | _Packaged) -> bytes:
    if isinstance(file, _Packaged):
        file = Path(str(distribution(file.package).locate_file(file.file)))
    return file.read_bytes()
