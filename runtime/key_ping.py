"""Tells every API process that keys changed, so that it forgets what it remembers of them."""

import asyncio

import nats.errors

from runtime.nats_access import connected_once
from runtime.settings import Settings, SettingsError

_SECONDS = 1.5


def key_change_subject(log_id: int) -> str:
    """The core-NATS subject on which a change of keys is told."""
    return f"customers-ping.{log_id}.keys"


def ping_key_change(settings: Settings) -> None:
    """Ping, if NATS is known and answers soon; without it the change counts within a second."""
    if not settings.nats_url:
        return
    try:
        asyncio.run(_ping(settings))
    except (OSError, TimeoutError, ValueError, SettingsError, nats.errors.Error):
        # Nothing is lost: what a process remembers of a key is a second old at most.
        return


async def _ping(settings: Settings) -> None:
    async with asyncio.timeout(_SECONDS), connected_once(settings, "customers keys") as client:
        await client.publish(key_change_subject(settings.log_id), b"")
        await client.flush()
