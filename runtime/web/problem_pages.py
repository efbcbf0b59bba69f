"""`/problems/<code>`: what a failure's `type` leads to, for people."""

from html import escape
from typing import Final

from litestar import HttpMethod, MediaType, Response, route
from litestar.params import FromPath

from runtime.web.problem_types import PROBLEMS
from runtime.web.problems import ApiError

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto }}
:root {{ color-scheme: light dark }}
</style>
<h1>{title}</h1>
<p><code>{code}</code>, HTTP status {status}</p>
<h2>What it means</h2>
<p>{meaning}</p>
<h2>What to do</h2>
<p>{remedy}</p>
</html>
"""
_HEADERS: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


def unknown_problem() -> ApiError:
    """404: no page has this name."""
    return ApiError(404, "There is no problem of this name.")


@route("/problems/{code:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD], opt={"public": True})
async def problem_page(code: FromPath[str]) -> Response[str]:
    """What a problem means, and what to do."""
    kind = PROBLEMS.get(code)
    if kind is None:
        raise unknown_problem()
    page = _PAGE.format(
        code=code,
        status=kind.status,
        title=escape(kind.title),
        meaning=escape(kind.meaning),
        remedy=escape(kind.remedy),
    )
    return Response(page, headers=_HEADERS, media_type=MediaType.HTML)
