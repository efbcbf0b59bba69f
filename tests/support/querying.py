"""The query side in this process, spoken to over HTTP without a socket."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from litestar import Litestar

from events.token import Tokens
from query_side.app import QuerySide, query_side
from runtime.api_keys import Principal, lookup
from runtime.postgres import Role, make_pool
from runtime.sealing import Sealer
from runtime.settings import Settings, read_master_keys
from runtime.web.authentication import Authentication
from runtime.web.frame import Frame
from tests.support.api import make_key
from tests.support.relaying import a_renderer


class Reader:
    """A client of the query side with the key of one workspace."""

    def __init__(self, side: QuerySide, client: httpx.AsyncClient) -> None:
        self.side = side
        self.client = client


@asynccontextmanager
async def reading(
    settings: Settings, workspace: str = "acme", *, can_hear_pings: bool = False
) -> AsyncGenerator[Reader]:
    """A query side that nobody rings, and a client with a key of this workspace."""
    master_keys = read_master_keys(settings)
    sealer = Sealer(master_keys)
    pool = make_pool(settings, Role.API, "test query side", size=settings.pool_size)

    async def find_key(key_hash: bytes) -> Principal | None:
        async with pool.connection() as connection:
            return await lookup(connection, key_hash)

    authentication = Authentication(find_key)
    async with (
        pool,
        query_side(
            pool,
            settings.log_id,
            Tokens(sealer, settings.log_id),
            sealer,
            renderer=a_renderer(settings),
            authentication=authentication,
            wait_seconds=settings.read_wait,
            can_hear_pings=lambda: can_hear_pings,
            stop=asyncio.Event(),
        ) as side,
    ):
        frame = Frame(authentication, parts=[side.part()])
        app = Litestar(plugins=[frame], openapi_config=None)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(
                app=app,  # pyright: ignore[reportArgumentType] - Litestar's scope is narrower
                raise_app_exceptions=False,
            ),
            base_url="http://api/api/v1/external",
            headers={"X-Api-Key": make_key(settings, workspace)},
        ) as client:
            yield Reader(side, client)
