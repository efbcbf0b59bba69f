"""The pages at /docs and /docs/events show the documents, and load nothing from elsewhere."""

import re

import httpx
import pytest

from runtime.settings import Settings
from runtime.web.docs import ASSETS
from tests.support.api import running_api

METHODS = ["GET", "HEAD"]
PAGES = {
    "/docs": {
        *("/openapi.json", "/docs/events", "/docs/swagger-ui.css", "/docs/docs.css"),
        *("/docs/swagger-ui-bundle.js", "/docs/docs.js"),
    },
    "/docs/events": {
        *("/asyncapi.json", "/docs", "/schemas", "/docs/docs.css", "/docs/asyncapi-viewer.js"),
    },
}


@pytest.mark.parametrize("path", PAGES)
async def test_every_address_in_a_page_is_served_here(settings: Settings, path: str) -> None:
    async with running_api(settings) as api:
        page = await api.get(path)
        addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        answers = {address: await api.get(address) for address in addresses if address != "data:,"}

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert set(answers) == PAGES[path]
    assert {answer.status_code for answer in answers.values()} == {200}
    assert not re.search(r"https?://|//\w|@import|url\(|style=|<style|<script>", page.text)


def test_no_file_is_served_that_no_page_loads() -> None:
    assert {f"/docs/{name}" for name in ASSETS} < set.union(*PAGES.values())


async def test_the_viewer_of_events_needs_no_more_than_the_browser_allows_it(
    settings: Settings,
) -> None:
    async with running_api(settings) as api:
        page = (await api.get("/docs/events")).text
        viewer = (await api.get("/docs/asyncapi-viewer.js")).text

    assert not re.search(r"\beval\(|\bFunction\(|\bimport\(|XMLHttpRequest|WebSocket", viewer)
    assert re.search(r'<asyncapi-viewer [^>]*src="/asyncapi.json"', page)
    assert '"asyncapi-viewer"' in viewer.replace("`", '"')


async def test_our_script_asks_for_the_document_only(settings: Settings) -> None:
    async with running_api(settings) as api:
        script = (await api.get("/docs/docs.js")).text
        style = (await api.get("/docs/docs.css")).text

    assert re.findall(r'"(/[^"]*)"', script) == ["/openapi.json"]
    assert "validatorUrl: null" in script
    assert not re.search(r"https?://|@import|url\(", script + style)


async def test_the_style_of_the_package_loads_nothing(settings: Settings) -> None:
    async with running_api(settings) as api:
        style = (await api.get("/docs/swagger-ui.css")).text

    assert "@import" not in style
    assert {found[:5] for found in re.findall(r"url\(['\"]?([^)]+)", style)} <= {"data:"}


@pytest.mark.parametrize("name", ["", "/events", *(f"/{name}" for name in ASSETS)])
async def test_the_browser_is_told_to_refuse_whatever_comes_from_elsewhere(
    settings: Settings, name: str
) -> None:
    async with running_api(settings) as api:
        answers = [await api.request(method, f"/docs{name}") for method in METHODS]

    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = dict(
            rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == "'none'"
        assert set(" ".join(policy.values()).split()) <= {"'none'", "'self'", "data:"}
    assert answers[1].content == b""


@pytest.mark.parametrize(
    "name", ["other.js", "..%2Fdocs.py", "docs.html", "docs_events.html", "swagger-ui.js.map"]
)
async def test_nothing_else_of_ours_or_of_the_package_is_served(
    settings: Settings, name: str
) -> None:
    async with running_api(settings) as api:
        answer: httpx.Response = await api.get(f"/docs/{name}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not_found"
