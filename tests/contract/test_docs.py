"""The page at /docs describes the routes there are, and loads nothing from elsewhere."""

import re

from runtime.processes import api_app
from runtime.settings import Settings
from tests.support.api import running_api


async def test_the_page_names_every_route_and_only_those(settings: Settings) -> None:
    async with api_app(settings) as app, running_api(settings) as api:
        page = await api.get("/docs")
        routes = {
            (method, route.path_format.replace("/api/v1/external", ""))
            for route in app.routes
            for method in route.methods
            if route.path_format.startswith("/api/") and method not in {"OPTIONS", "HEAD"}
        }

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    row = r'<span class="method">(\w+)</span> <code>([^<]+)</code>'
    assert set(re.findall(row, page.text)) == routes
    assert not re.search(r"(?:src|href)=|https?://|@import|url\(", page.text)
