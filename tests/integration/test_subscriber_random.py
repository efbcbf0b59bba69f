"""Whatever happens in whatever order, a subscriber hands out exactly the log's events, in order."""

import asyncio
import random
from collections.abc import Sequence

import msgspec
import nats
import pytest
from nats.aio.client import Client

from events.append import KeyedEvent
from events.envelope import WorkspaceId
from events.keys import Keyring
from events.subscriber import BEGINNING, CustomerSubscriber, Place
from tests.support.builders import ACME, GLOBEX
from tests.support.histories import a_history
from tests.support.nats_server import NatsServer, nats_with
from tests.support.signals import until
from tests.support.stream import HandStream

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("impatient")]

EVENTS = 400
STEPS = 12


class World:
    """A log that is published bit by bit, and what may happen meanwhile."""

    def __init__(self, client: Client, broker: NatsServer, keyring: Keyring, log_id: int) -> None:
        self.history = a_history(log_id, EVENTS, workspaces=(ACME, GLOBEX, GLOBEX))
        self._client = client
        self._broker = broker
        self._keyring = keyring
        self._log_id = log_id
        self._generation = 1
        self.published = 0
        self._stream = self._stream_of(1)

    async def begin(self) -> None:
        """Make the stream."""
        await self._stream.make()

    async def publish(self, events: int) -> None:
        """Publish the next so many events, as the relay does."""
        await self._stream.publish(*self.history[self.published : self.published + events])
        self.published = min(EVENTS, self.published + events)

    async def publish_the_rest(self) -> None:
        """Publish whatever is not published yet."""
        await self.publish(EVENTS - self.published)

    async def reconnect(self) -> None:
        """Have the connection lost."""
        await self._client.force_reconnect()
        await until(lambda: self._client.is_connected)

    async def restart(self) -> None:
        """Have the server killed, and started again."""
        self._broker.kill()
        await until(lambda: not self._client.is_connected)
        self._broker.start()
        await until(lambda: self._client.is_connected)

    async def drop(self) -> None:
        """Have the stream deleted, and filled again."""
        await self._stream.drop()
        await self._stream.make()
        await self._fill()

    async def drop_consumers(self) -> None:
        """Have every consumer deleted."""
        await self._stream.drop_consumers()

    async def go_on_in_a_new_generation(self) -> None:
        """Have the log go on in a stream of its own, with all that there was."""
        self._generation += 1
        self._stream = self._stream_of(self._generation)
        await self._stream.make()
        await self._fill()

    async def _fill(self) -> None:
        published, self.published = self.published, 0
        await self.publish(published)

    def _stream_of(self, generation: int) -> HandStream:
        return HandStream(self._client, self._keyring, self._log_id, generation)


class Reader:
    """Somebody who follows, and now and then is ended in the middle and begins again."""

    def __init__(
        self, client: Client, log_id: int, workspace_id: WorkspaceId | None, seed: int
    ) -> None:
        self._client = client
        self._log_id = log_id
        self._workspace_id = workspace_id
        self._dice = random.Random(seed)  # noqa: S311 - no secret
        self._kept = msgspec.json.encode(BEGINNING)
        self.seen: list[bytes] = []

    async def follow(self, wanted: Sequence[KeyedEvent]) -> None:
        """Read until there is as much as wanted."""
        while len(self.seen) < len(wanted):
            start = msgspec.json.decode(self._kept, type=Place)
            async with CustomerSubscriber(
                self._client, log_id=self._log_id, workspace_id=self._workspace_id, start=start
            ) as subscriber:
                async for event in subscriber:
                    # The effect and the place, which in earnest are one transaction.
                    self.seen.append(event.chain)
                    self._kept = msgspec.json.encode(subscriber.place)
                    if self._dice.random() < 0.01 or len(self.seen) == len(wanted):
                        break


@pytest.mark.parametrize("seed", [1, 2])
async def test_each_event_is_read_once_and_in_order(
    keyring: Keyring, log_id: int, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - no secret
    with nats_with() as broker:
        client = await nats.connect(broker.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
        world = World(client, broker, keyring, log_id)
        await world.begin()
        readers = {
            workspace_id: Reader(client, log_id, workspace_id, seed)
            for workspace_id in (None, ACME, GLOBEX)
        }
        wanted = {
            workspace_id: [
                k for k in world.history if workspace_id in {None, k.stored.workspace_id}
            ]
            for workspace_id in readers
        }
        reading = [
            asyncio.create_task(reader.follow(wanted[workspace_id]))
            for workspace_id, reader in readers.items()
        ]
        happenings = [
            world.reconnect,
            world.restart,
            world.drop,
            world.drop_consumers,
            world.go_on_in_a_new_generation,
        ]
        for _ in range(STEPS):
            await world.publish(dice.randrange(60))
            if dice.random() < 0.5:
                reader = readers[None]
                await until(lambda reader=reader: len(reader.seen) == world.published)
            await dice.choice(happenings)()
        await world.publish_the_rest()
        await asyncio.gather(*reading)
        for workspace_id, reader in readers.items():
            assert reader.seen == [keyed.stored.chain for keyed in wanted[workspace_id]]
        await client.close()
