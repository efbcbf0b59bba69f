"""What the service tells everybody can be kept from them, and is then as if it were not there."""

import pytest
from msgspec.structs import replace

from runtime.settings import Settings
from tests.support.api import CUSTOMERS, make_key, running_api, with_key

DOCUMENTS = (
    *("/docs", "/docs/events", "/docs/docs.js", "/openapi.json", "/asyncapi.json"),
    *("/schemas", "/schemas/CustomerCreated/1"),
)


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_closed_documents_are_answered_like_a_path_that_never_was(
    settings: Settings, path: str
) -> None:
    async with running_api(replace(settings, docs=False)) as api:
        answer, other = await api.get(path), await api.get(f"{path}-nothing")
        assert (await api.options(path)).status_code == 404
        for varying in ("meta", "instance"):
            assert answer.json().pop(varying) != other.json().pop(varying)
        assert answer.status_code == other.status_code == 404
        assert answer.json() | {"meta": 0, "instance": 0} == other.json() | {
            "meta": 0,
            "instance": 0,
        }
    async with running_api(settings) as api:
        assert (await api.get(path)).status_code == 200


async def test_without_documents_the_calls_and_the_pages_about_failures_stay(
    settings: Settings,
) -> None:
    async with running_api(replace(settings, docs=False, read_wait=0)) as client:
        api = with_key(client, make_key(settings))
        made = await api.post(CUSTOMERS, json={"email": "jane@example.com"})
        assert made.status_code == 200
        assert (await api.get("/problems/not_found")).status_code == 200
        assert (await api.get("/health/live")).json() == {"status": "live"}


async def test_whether_it_is_ready_can_be_told_without_what_was_found(settings: Settings) -> None:
    async with running_api(settings) as api:
        open_answer = await api.get("/health/ready")
    async with running_api(replace(settings, health_details=False)) as api:
        closed_answer = await api.get("/health/ready")
    assert set(open_answer.json()) == {"status", "checks"}
    assert set(closed_answer.json()) == {"status"}
    assert closed_answer.status_code == open_answer.status_code
