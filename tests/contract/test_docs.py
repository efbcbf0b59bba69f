"""The page at /docs shows the document, and everything it loads is served here."""

import re

import httpx
import pytest

from runtime.settings import Settings
from runtime.web.docs import ASSETS
from tests.support.api import running_api

METHODS = ["GET", "HEAD"]


async def test_every_address_in_the_page_is_served_here(settings: Settings) -> None:
    async with running_api(settings) as api:
        page = await api.get("/docs")
        addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        answers = {address: await api.get(address) for address in addresses if address != "data:,"}

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert {f"/docs/{name}" for name in ASSETS} | {"/openapi.json"} == set(answers)
    assert {answer.status_code for answer in answers.values()} == {200}
    assert not re.search(r"https?://|//\w|@import|url\(", page.text)


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


@pytest.mark.parametrize("name", ["", *(f"/{name}" for name in ASSETS)])
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


@pytest.mark.parametrize("name", ["other.js", "..%2Fdocs.py", "docs.html", "swagger-ui.js.map"])
async def test_nothing_else_of_ours_or_of_the_package_is_served(
    settings: Settings, name: str
) -> None:
    async with running_api(settings) as api:
        answer: httpx.Response = await api.get(f"/docs/{name}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not_found"
