"""Connections to NATS that fail fast, reconnect for ever and never buffer a publish."""

import asyncio
from collections.abc import Awaitable, Callable

import nats
import structlog
from nats.aio.client import Client

from runtime.settings import Settings

_CONNECT_SECONDS = 3.0
log = structlog.get_logger()


async def connect(
    settings: Settings,
    name: str,
    *,
    on_reconnect: Callable[[], Awaitable[None]] | None = None,
) -> Client:
    """One client; raises OSError or nats.errors.Error when no server answers within 3 s.

    Publishing while disconnected raises at once: what is not sent now is sent again from the log.
    """

    async def on_error(error: Exception) -> None:
        log.warning("nats.error", error=str(error) or type(error).__name__)

    async def on_disconnect() -> None:
        log.warning("nats.disconnected")

    async def on_reconnected() -> None:
        log.info("nats.reconnected")
        if on_reconnect is not None:
            await on_reconnect()

    connecting = nats.connect(
        settings.nats_url.split(","),
        name=name,
        user_credentials=settings.nats_credentials or None,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.5,
        ping_interval=10,
        pending_size=-1,
        drain_timeout=2,
        error_cb=on_error,
        disconnected_cb=on_disconnect,
        reconnected_cb=on_reconnected,
    )
    return await asyncio.wait_for(connecting, _CONNECT_SECONDS)
