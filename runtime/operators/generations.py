"""`customers relay new-generation`: lets the log go on where its history parted from another."""

from contextlib import AsyncExitStack

import nats.errors

from events import generations
from events.errors import NoFork
from events.generations import Fork
from events.log import LogReader
from runtime import signed_heads
from runtime.failure import Failure
from runtime.nats_access import connected_once, words_of
from runtime.postgres import Role, connect
from runtime.settings import Settings


async def begin_generation(settings: Settings, reason: str) -> Fork:
    """Let the log go on in a new generation: where history parted.

    Raises Failure when it did not; psycopg.Error when the database is away.
    """
    name = "customers relay new-generation"
    if not settings.nats_url:
        raise Failure(
            "CUSTOMERS_NATS_URL is not set, and the streams are in NATS.",
            "CUSTOMERS_NATS_URL=nats://user:password@host:4222",
        )
    async with (
        await connect(settings, Role.RELAY, name) as connection,
        AsyncExitStack() as stack,
    ):
        try:
            client = await stack.enter_async_context(connected_once(settings, name))
        except (OSError, nats.errors.Error) as error:
            words = words_of(error, settings)
            raise Failure(f"NATS cannot be used: {words}", "customers doctor") from error
        reader = LogReader(connection, settings.log_id)
        try:
            try:
                fork = await generations.find_fork(reader, client.jetstream(), settings.log_id)
            except NoFork:
                # JetStream may have been restored too; signed heads may have not.
                fork = await signed_heads.find_fork(settings, connection, client)
                if fork is None:
                    raise
            await generations.begin_generation(connection, settings.log_id, fork, reason)
        except NoFork as error:
            raise Failure(str(error), "customers status") from error
    return fork
