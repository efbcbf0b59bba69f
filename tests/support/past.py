"""Reads of the past over HTTP, and what a history's changes make of nobody."""

from typing import Any, Final

import httpx

from tests.support.api import CUSTOMERS
from tests.support.feed import EVENTS

_LISTS: Final[dict[str, Any]] = {"tags": []}


async def get(api: httpx.AsyncClient, path: str, as_of: object) -> httpx.Response:
    """What is answered as of then."""
    return await api.get(path, params={"as_of": str(as_of)})


async def walk(api: httpx.AsyncClient, as_of: object, per_page: int = 100) -> list[Any]:
    """Every customer as of then, by cursor."""
    found: list[Any] = []
    query: dict[str, str] = {"as_of": str(as_of), "per_page": str(per_page)}
    while True:
        answer = await api.get(CUSTOMERS, params=query)
        assert answer.status_code == 200, answer.text
        meta = answer.json()["meta"]
        found += answer.json()["data"]
        assert meta["has_next"] is (meta["next_cursor"] is not None)
        if meta["next_cursor"] is None:
            return found
        query["cursor"] = meta["next_cursor"]


async def now(api: httpx.AsyncClient) -> str:
    """The moment of the newest event of the workspace."""
    events = (await api.get(EVENTS)).json()["data"]
    return max(event["time"] for event in events)


def replay(customer: dict[str, Any], changes: dict[str, Any]) -> None:
    """Make a customer what it became, and see that it was what its history says it was."""
    for name, change in changes.items():
        whole, _, key = name.partition(".")
        if key:
            keys = customer.setdefault(whole, {})
            assert (("from" in change), keys.get(key)) == (key in keys, change.get("from"))
            keys.pop(key, None) if "to" not in change else keys.update({key: change["to"]})
        else:
            assert customer.get(whole, _LISTS.get(whole)) == change["from"]
            customer[whole] = change["to"]
