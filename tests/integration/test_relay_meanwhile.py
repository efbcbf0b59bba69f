"""What happens to the log or its stream while a relay looks or publishes, between two requests."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import jetstream
from events.log import PostgresLog
from events.relay import Relay
from events.relay_log import RelayLog
from events.stream_check import StreamCheck
from runtime.postgres import Role, connect, connect_as_owner
from runtime.settings import Settings
from tests.support.builders import Writer
from tests.support.relaying import a_renderer, relaying, until_published
from tests.support.signals import until

SOON = 0.05


class Watched(Client):
    """A connection that tells of each request before it is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.tell: Callable[[str, bytes], Awaitable[None]] | None = None

    async def request(self, subject: str, payload: bytes = b"", *more: Any, **options: Any) -> Msg:
        """Ask as ever, after whoever listens."""
        if self.tell is not None:
            await self.tell(subject, payload)
        return await super().request(subject, payload, *more, **options)


@pytest.fixture
async def watched(nats_url: str) -> AsyncGenerator[Watched]:
    """A connection of this kind."""
    connection = Watched()
    await connection.connect(nats_url)
    yield connection
    await connection.close()


async def test_what_another_relay_publishes_while_the_end_is_looked_for_is_no_fault(
    settings: Settings,
    client: Client,
    watched: Watched,
    postgres_log: PostgresLog,
    writer: Writer,
) -> None:
    check = StreamCheck(lambda: watched, a_renderer(settings), replicas=1)
    async with (
        relaying(settings, client) as relay,
        await connect(settings, Role.RELAY, "test relay") as connection,
    ):
        await until(lambda: relay.state.condition == "publishing")

        async def publish_one(*_: object) -> None:
            goal = relay.state.sequence + 1
            await postgres_log.append([writer.creation()])
            relay.wake()
            await until(lambda: relay.state.sequence == goal)

        await publish_one()
        watched.tell = publish_one
        end = await check.find_end(RelayLog(connection, settings.log_id))

    assert (end.generation, end.position) == (1, 3)


async def test_what_exists_already_and_cannot_be_looked_at_does_not_stop_publishing(
    settings: Settings, watched: Watched, postgres_log: PostgresLog, writer: Writer
) -> None:
    async def refuse(subject: str, payload: bytes) -> None:
        if b"deleted_details" in payload:
            raise TimeoutError("no answer")

    await postgres_log.append([writer.creation()])
    watched.tell = refuse
    async with relaying(settings, watched, audit_seconds=SOON) as relay:
        await until_published(settings, watched, 1)
        await until(
            lambda: (
                "could not be compared with the log: TimeoutError: no answer" in relay.state.words
            )
        )
        await postgres_log.append([writer.creation()])
        await until_published(settings, watched, 2)
        assert relay.state.condition == "publishing"

        watched.tell = None
        await until(lambda: (relay.state.condition, relay.state.words) == ("publishing", ""))


async def test_damage_that_was_found_is_told_of_until_a_look_finds_it_mended(
    settings: Settings, watched: Watched, postgres_log: PostgresLog, writer: Writer
) -> None:
    looks = 0

    async def refuse(subject: str, payload: bytes) -> None:
        nonlocal looks
        if b"deleted_details" in payload:
            looks += 1
            raise TimeoutError("no answer")

    await postgres_log.append([writer.creation() for _ in range(3)])
    async with relaying(settings, watched, audit_seconds=SOON) as relay:
        await until_published(settings, watched, 3)
        name = jetstream.stream_name(settings.log_id, 1)
        await watched.jetstream().delete_msg(name, 2)
        await until(lambda: relay.state.condition == "damaged")
        watched.tell = refuse
        await until(lambda: looks > 1)
        assert relay.state.condition == "damaged"
        assert "lacks message 2" in relay.state.words


async def test_a_new_generation_begins_its_stream_also_while_events_keep_coming(
    settings: Settings, client: Client, postgres_log: PostgresLog, writer: Writer
) -> None:
    name = jetstream.stream_name(settings.log_id, 2)

    async def keep_writing(relay: Relay) -> None:
        while True:
            await postgres_log.append([writer.creation()])
            relay.wake()

    async def is_there() -> bool:
        with suppress(Exception):
            return (await client.jetstream().stream_info(name)).state.last_seq > 1
        return False

    async with relaying(settings, client) as relay:
        await postgres_log.append([writer.creation()])
        await until_published(settings, client, 1)
        with connect_as_owner(settings, "test owner") as owner:
            owner.execute(
                "INSERT INTO log.generations VALUES (%s, 2, 1, 'test')", [settings.log_id]
            )
        writing = asyncio.create_task(keep_writing(relay))
        try:
            await until(is_there)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
