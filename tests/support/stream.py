"""A JetStream stream filled by hand, as the relay fills it."""

from contextlib import suppress

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js.errors import NotFoundError

from events.append import KeyedEvent
from events.cloudevents import render_cloud_event
from events.jetstream import event_subject, message_headers, stream_config, stream_name
from events.keys import Keyring
from events.reading import open_stored


class HandStream:
    """The stream of one log and generation."""

    def __init__(self, client: Client, keyring: Keyring, log_id: int, generation: int = 1) -> None:
        self._client = client
        self._jetstream = client.jetstream()
        self._keyring = keyring
        self._log_id = log_id
        self._generation = generation

    async def make(self, first: int = 1) -> None:
        """Make the stream, empty; what is published first has this sequence."""
        config = stream_config(self._log_id, self._generation, 1)
        config.first_seq = first
        await self._jetstream.add_stream(config)

    async def drop(self) -> None:
        """Delete the stream."""
        await self._jetstream.delete_stream(stream_name(self._log_id, self._generation))

    async def delete(self, sequence: int) -> None:
        """Delete one message, which leaves a hole."""
        await self._jetstream.delete_msg(stream_name(self._log_id, self._generation), sequence)

    async def publish(self, *events: KeyedEvent) -> None:
        """Publish events; the sequence of a message is what the stream makes it.

        Returns when all are stored: the server does that some time after it has taken them.
        """
        for keyed in events[:-1]:
            subject, body, headers = self._message(keyed)
            await self._client.publish(subject, body, headers=headers)
        for keyed in events[-1:]:
            subject, body, headers = self._message(keyed)
            await self._jetstream.publish(subject, body, headers=headers)

    async def publish_as(self, event: KeyedEvent, body: bytes, **headers: str) -> None:
        """Publish something else where an event belongs."""
        subject, _, _ = self._message(event)
        named = {f"Customers-{name.title()}": text for name, text in headers.items()}
        await self._jetstream.publish(subject, body, headers=named)

    async def requests_for_consumers(self) -> Subscription:
        """Gathers the requests that make a consumer of it, from now on."""
        name = stream_name(self._log_id, self._generation)
        return await self._client.subscribe(f"$JS.API.CONSUMER.CREATE.{name}.>")

    async def consumers(self) -> list[str]:
        """The names of those who read."""
        name = stream_name(self._log_id, self._generation)
        return [consumer.name for consumer in await self._jetstream.consumers_info(name)]

    async def is_read(self) -> bool:
        """Whether anybody reads."""
        return bool(await self.consumers())

    async def drop_consumers(self) -> None:
        """Delete every consumer there is."""
        name = stream_name(self._log_id, self._generation)
        for consumer in await self.consumers():
            with suppress(NotFoundError):
                await self._jetstream.delete_consumer(name, consumer)

    def _message(self, keyed: KeyedEvent) -> tuple[str, bytes, dict[str, str]]:
        event = keyed.stored
        data = open_stored(self._keyring, keyed)
        subject = event_subject(
            self._log_id, self._generation, event.workspace_id, event.stream_id, event.type
        )
        body = render_cloud_event(event, data, "http://127.0.0.1:8080")
        return subject, body, message_headers(event)
