"""A whole service in this process, whose relay and projector tell their metrics."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from msgspec import Struct
from msgspec.structs import replace

from runtime.embedded.ports import free_port
from runtime.processes import run_projector, run_relay
from runtime.settings import Settings
from runtime.tasks import end
from tests.support.api import make_key, running_api, with_key
from tests.support.signals import until


class Watched(Struct, frozen=True, kw_only=True):
    """A client of the API, and where the others tell of themselves."""

    api: httpx.AsyncClient
    relay_port: int
    projector_port: int

    async def pages(self) -> dict[str, str]:
        """What each process tells, by its kind."""
        async with httpx.AsyncClient() as client:
            return {
                "api": (await self.api.get("/metrics")).text,
                "relay": (await client.get(_url(self.relay_port))).text,
                "projector": (await client.get(_url(self.projector_port))).text,
            }

    async def caught_up(self) -> None:
        """Wait until all that is written is published and projected, as these say themselves."""
        head = _told((await self.api.get("/metrics")).text, "customers_log_head_position")
        await _until_told(self.relay_port, "customers_stream_sequence", head)
        await _until_told(self.projector_port, "customers_checkpoint_position", head)


@asynccontextmanager
async def watched_service(settings: Settings, workspace: str = "acme") -> AsyncGenerator[Watched]:
    """All three processes; what was written is published and projected when the block has ended."""
    relay_port, projector_port = free_port(), free_port()
    others = [
        asyncio.create_task(run_relay(replace(settings, metrics_port=relay_port))),
        asyncio.create_task(run_projector(replace(settings, metrics_port=projector_port))),
    ]
    try:
        async with running_api(settings) as api:
            service = Watched(
                api=with_key(api, make_key(settings, workspace)),
                relay_port=relay_port,
                projector_port=projector_port,
            )
            yield service
            await service.caught_up()
    finally:
        await end(*others)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/metrics"


def _told(page: str, name: str) -> float | None:
    found = re.search(rf"^{name} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


async def _until_told(port: int, name: str, value: float | None) -> None:
    async with httpx.AsyncClient() as client:

        async def is_told() -> bool:
            try:
                return _told((await client.get(_url(port))).text, name) == value
            except httpx.ConnectError:
                return False

        await until(is_told)
