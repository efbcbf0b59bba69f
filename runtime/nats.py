"""The line to NATS: up as soon as a server answers, up again whenever it comes back.

Nothing here waits for NATS at start and nothing is buffered while it is away: what is not sent
now is sent again from the log.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from runtime.settings import Settings

_RETRY_SECONDS: Final = 0.5
log = structlog.get_logger()

Heard: TypeAlias = Callable[[bytes], Awaitable[None] | None]
"""What is done with the payload of a ping."""


class NatsLine:
    """One connection that is always wanted and sometimes there."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        hears: Mapping[str, Heard] | None = None,
        on_connected: Callable[[], None] | None = None,
    ) -> None:
        self._servers = settings.nats_url.split(",")
        self._credentials = settings.nats_credentials or None
        self._name = name
        self._hears = hears or {}
        self._on_connected = on_connected
        self._client: Client | None = None
        self._stopping = False

    @property
    def connected(self) -> bool:
        """Whether a server answers right now."""
        return self._client is not None and self._client.is_connected

    def client(self) -> Client:
        """The connection; raises nats.errors.ConnectionClosedError while there is none."""
        if self._client is None or not self._client.is_connected:
            raise nats.errors.ConnectionClosedError
        return self._client

    async def ping(self, subject: str, payload: bytes) -> None:
        """Ring whoever listens; when NATS is away, nobody is rung and they poll instead."""
        with suppress(nats.errors.Error, OSError):
            await self.client().publish(subject, payload)

    @asynccontextmanager
    async def kept_up(self) -> AsyncGenerator[None]:
        """Keep the line up while the block runs."""
        running = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._stopping = True
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def _run(self) -> None:
        while True:
            # A client that the server closed for good never comes back; a new one may.
            closed = asyncio.Event()
            client = Client()
            self._client = client
            try:
                await self._connect(client, closed)
                for subject, heard in self._hears.items():
                    await client.subscribe(subject, cb=_callback(heard))
                self._connected()
                await closed.wait()
            except (nats.errors.Error, OSError) as error:
                log.warning("nats.refused", error=str(error) or type(error).__name__)
            finally:
                await _close(client)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _connect(self, client: Client, closed: asyncio.Event) -> None:
        async def on_error(error: Exception) -> None:
            log.debug("nats.error", error=str(error) or type(error).__name__)

        async def on_disconnected() -> None:
            if not self._stopping:
                log.warning("nats.disconnected")

        async def on_reconnected() -> None:
            self._connected()

        async def on_closed() -> None:
            closed.set()

        await client.connect(
            self._servers,
            name=self._name,
            user_credentials=self._credentials,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=2,
            ping_interval=10,
            # Publishing while disconnected raises at once instead of filling a buffer.
            pending_size=-1,
            drain_timeout=2,
            error_cb=on_error,
            disconnected_cb=on_disconnected,
            reconnected_cb=on_reconnected,
            closed_cb=on_closed,
        )

    def _connected(self) -> None:
        log.info("nats.connected")
        if self._on_connected is not None:
            self._on_connected()


def _callback(heard: Heard) -> Callable[[Msg], Awaitable[None]]:
    async def call(message: Msg) -> None:
        outcome = heard(message.data)
        if outcome is not None:
            await outcome

    return call


async def _close(client: Client) -> None:
    with suppress(nats.errors.Error, OSError, TimeoutError):
        await client.close()
