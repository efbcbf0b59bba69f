"""An API in this process, spoken to over HTTP without a socket."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx

from runtime.api_keys import create_key
from runtime.postgres import connect_as_owner
from runtime.processes import Side, api_app
from runtime.settings import Settings

CUSTOMERS = "/api/v1/external/customers"

REFERENCE_CUSTOMER = {
    "email": "jane@example.com",
    "firstName": "Jane",
    "lastName": "Doe",
    "phone": "+15550001234",
    "companyName": "Acme Corp",
    "external_id": "cust-001",
    "tags": ["vip"],
    "custom_fields": {"account_type": "premium"},
    "communication_preferences": {"sms": True, "email": True, "voice": False},
}


def make_key(settings: Settings, workspace: str = "acme", *scopes: str, test: bool = False) -> str:
    """A new API key of a workspace."""
    with connect_as_owner(settings, "test keys") as connection:
        return create_key(connection, workspace=workspace, scopes=scopes, test=test)


@asynccontextmanager
async def running_api(settings: Settings, side: Side = "both") -> AsyncGenerator[httpx.AsyncClient]:
    """A client of an API in this process; each request still needs its key."""
    async with api_app(settings, side) as app:
        transport = httpx.ASGITransport(app=cast(Any, app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            yield client


def with_key(client: httpx.AsyncClient, key: str) -> httpx.AsyncClient:
    """The same client, every request with this key."""
    client.headers["X-Api-Key"] = key
    return client
