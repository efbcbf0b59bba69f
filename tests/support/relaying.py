"""A relay that runs in this process, and what it has published."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from events import jetstream
from events.keys import Keyring
from events.log import PostgresLog
from events.relay import AUDIT_SECONDS, Relay
from events.rendering import Renderer
from runtime.postgres import Role, connect
from runtime.settings import Settings, read_master_keys
from runtime.tasks import end
from tests.support.builders import Writer
from tests.support.signals import LIMIT_SECONDS, until


def a_renderer(settings: Settings) -> Renderer:
    """What makes the messages of this service's log."""
    return Renderer(
        keyring=Keyring(read_master_keys(settings)),
        log_id=settings.log_id,
        public_url=settings.public_url,
    )


@asynccontextmanager
async def relaying(
    settings: Settings,
    client: Client | Callable[[], Client],
    *,
    audit_seconds: float = AUDIT_SECONDS,
) -> AsyncGenerator[Relay]:
    """A relay that runs while the block does."""
    relay = Relay(
        lambda: connect(settings, Role.RELAY, "test relay"),
        (lambda: client) if isinstance(client, Client) else client,
        a_renderer(settings),
        replicas=1,
        message_max=settings.nats_max_payload,
        audit_seconds=audit_seconds,
    )
    running = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        await end(running)
        with suppress(asyncio.CancelledError):
            running.result()


async def until_published(
    settings: Settings, client: Client, count: int, *, generation: int = 1
) -> None:
    """Return when so many messages are in the stream of a generation."""
    name = jetstream.stream_name(settings.log_id, generation)

    async def is_there() -> bool:
        with suppress(NotFoundError):
            return (await client.jetstream().stream_info(name)).state.last_seq >= count
        return False

    await until(is_there)


async def publish_creations(
    settings: Settings, client: Client, log: PostgresLog, writer: Writer, count: int
) -> None:
    """Append so many creations to an empty log, and have a relay publish them."""
    await log.append([writer.creation() for _ in range(count)])
    async with relaying(settings, client):
        await until_published(settings, client, count)


async def published(settings: Settings, client: Client, count: int) -> list[Msg]:
    """The first `count` messages of the stream, waiting for them."""
    await until_published(settings, client, count)
    stream = client.jetstream()
    subscription = await stream.pull_subscribe(
        f"customers.{settings.log_id}.1.>", stream=jetstream.stream_name(settings.log_id, 1)
    )
    messages: list[Msg] = []
    while len(messages) < count:
        messages += await subscription.fetch(count - len(messages), timeout=LIMIT_SECONDS)
    return messages
