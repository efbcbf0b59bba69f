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

from runtime.nats_access import NatsClient, access_of, new_client, servers_of, words_of
from runtime.settings import Settings
from runtime.tasks import end

_RETRY_SECONDS: Final = 0.5
log = structlog.get_logger()

Heard: TypeAlias = Callable[[bytes], Awaitable[None] | None]
"""What is done with the payload of a ping."""


class NatsAwayError(nats.errors.ConnectionClosedError):
    """There is no connection now; the words say why, when a server was reached at all."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def __str__(self) -> str:
        return self._words or super().__str__()


class NatsLine:
    """One connection that is always wanted and sometimes there.

    Raises SettingsError when the files of TLS or credentials cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        hears: Mapping[str, Heard] | None = None,
        on_connected: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._access = access_of(settings)
        self._name = name
        self._hears = hears or {}
        self._on_connected = on_connected
        self._client: Client | None = None
        self._stopping = False
        self._trouble = ""

    @property
    def connected(self) -> bool:
        """Whether a server answers right now."""
        return self._client is not None and self._client.is_connected

    @property
    def trouble(self) -> str:
        """Why the last attempt to connect failed; empty when none did since there was a line."""
        return self._trouble

    def client(self) -> Client:
        """The connection; raises NatsAwayError while there is none."""
        if self._client is None or not self._client.is_connected:
            raise NatsAwayError(self._trouble)
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
            await end(running)

    async def _run(self) -> None:
        while True:
            # A client that the server closed for good never comes back; a new one may.
            closed = asyncio.Event()
            client = new_client(self._settings)
            self._client = client
            try:
                await self._connect(client, closed)
                for subject, heard in self._hears.items():
                    await client.subscribe(subject, cb=_callback(heard))
                self._connected()
                await closed.wait()
            except (nats.errors.Error, OSError) as error:
                self._note(error)
            finally:
                await _close(client)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _connect(self, client: NatsClient, closed: asyncio.Event) -> None:
        async def on_error(error: Exception) -> None:
            self._note(error)

        async def on_disconnected() -> None:
            if not self._stopping:
                log.warning("nats.disconnected")

        async def on_reconnected() -> None:
            self._connected()

        async def on_closed() -> None:
            closed.set()

        await client.connect(
            servers_of(self._settings),
            **self._access,
            name=self._name,
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

    def _note(self, error: Exception) -> None:
        words = words_of(error, self._settings)
        if words != self._trouble:
            log.warning("nats.trouble", error=words)
        self._trouble = words

    def _connected(self) -> None:
        log.info("nats.connected")
        self._trouble = ""
        if self._on_connected is not None:
            self._on_connected()


def _callback(heard: Heard) -> Callable[[Msg], Awaitable[None]]:
    async def call(message: Msg) -> None:
        try:
            outcome = heard(message.data)
        except ValueError:
            # Who may ring may ring nonsense. It says nothing, and whoever heard it polls as well.
            log.warning("nats.odd_ping", subject=message.subject)
            return
        if outcome is not None:
            await outcome

    return call


async def _close(client: Client) -> None:
    with suppress(nats.errors.Error, OSError, TimeoutError):
        await client.close()
