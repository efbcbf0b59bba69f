"""How a process proves to NATS who it is, and NATS to the process: TLS and credentials."""

import asyncio
import base64
import binascii
import re
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypedDict
from urllib.parse import urlsplit

import nats.errors
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct
from nats.aio.client import Client

from runtime.settings import Settings, SettingsError
from runtime.words import one_line

_ONCE_SECONDS: Final = 3.0
# Between its two lines of dashes each part of a .creds file stands alone.
_PART: Final = r"-----BEGIN {0}-----\s+(\S+)\s+-+END {0}-+"
_JWT: Final = re.compile(_PART.format("NATS USER JWT"))
_SEED: Final = re.compile(_PART.format("USER NKEY SEED"))
# An nkey is base32 of: a prefix, the key, CRC-16 of both.
_USER_SEED: Final = base64.b32decode("SUAA====")


class Access(TypedDict, total=False):
    """What `Client.connect` is given beside the servers."""

    user: str
    password: str
    tls: ssl.SSLContext
    user_jwt_cb: Callable[[], bytes]
    signature_cb: Callable[[str], bytes]


class Credentials(Struct, frozen=True):
    """What a .creds file holds: who the user is, and the key that proves it."""

    jwt: str
    key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return "Credentials()"


class NatsClient(Client):
    """A client that never speaks in clear to a server it was told to speak TLS with."""

    needs_tls: bool = False

    def _connect_command(self) -> bytes:
        # Here at the latest: the next bytes are the password. The library itself believes a
        # server, or whoever stands in its place, that says it knows no TLS.
        is_offered = self._server_info.get("tls_required")
        if self.needs_tls and not is_offered:
            raise nats.errors.SecureConnRequiredError
        return super()._connect_command()

    async def close(self) -> None:
        """Close it; nothing is to be closed when the URL alone was refused."""
        # The library would stumble there over a queue that it has not made yet.
        if self._flush_queue is not None:
            await super().close()

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException:
            # When TLS fails, nobody tells the connection below it that it is closed: the library
            # would wait for that for ever, and never try again.
            if self._transport is not None:
                self._transport.close()
                self._transport = None
            raise


def new_client(settings: Settings) -> NatsClient:
    """A client, not connected yet, that keeps to TLS when the settings ask for it."""
    client = NatsClient()
    client.needs_tls = _wants_tls(settings)
    return client


@asynccontextmanager
async def connected_once(settings: Settings, name: str) -> AsyncGenerator[NatsClient]:
    """A connection for one question: it is made soon or not at all.

    Raises SettingsError; OSError, nats.errors.Error when no server takes us.
    """
    access, client = access_of(settings), new_client(settings)
    heard: list[Exception] = []

    async def hear(error: Exception) -> None:
        heard.append(error)

    try:
        try:
            # The library would try a server that is away sixty times, two seconds apart.
            async with asyncio.timeout(_ONCE_SECONDS):
                await client.connect(
                    servers_of(settings),
                    **access,
                    name=name,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=1,
                    error_cb=hear,
                )
        except nats.errors.NoServersError as error:
            # Why, was only told on the way.
            raise (heard or [error])[-1] from None
        yield client
    finally:
        await client.close()


def servers_of(settings: Settings) -> list[str]:
    """The URLs of the servers."""
    return settings.nats_url.split(",")


def access_of(settings: Settings) -> Access:
    """What the settings say of TLS and credentials; raises SettingsError."""
    access = Access()
    named = {(url.username, url.password) for url in map(urlsplit, servers_of(settings))}
    match [*named]:
        case [(str() as user, str() as password)]:
            # Also for servers that no URL names: one of a cluster tells of the others.
            access["user"], access["password"] = user, password
        case _:
            pass
    if _wants_tls(settings):
        access["tls"] = _tls_context(settings)
    if settings.nats_credentials:
        path = Path(settings.nats_credentials)
        read_credentials(path)
        access["user_jwt_cb"] = partial(_jwt_of, path)
        access["signature_cb"] = partial(_sign, path)
    return access


def read_credentials(path: Path) -> Credentials:
    """Read a .creds file; raises SettingsError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise SettingsError(f"CUSTOMERS_NATS_CREDENTIALS={path}: {reason}.") from error
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None:
        missing = "user JWT" if jwt is None else "user's seed"
        raise SettingsError(
            f"CUSTOMERS_NATS_CREDENTIALS={path}: no {missing} in it. A .creds file holds both; "
            "`nsc generate creds` makes one."
        )
    return Credentials(jwt[1], _read_seed(path, seed[1]))


def _read_seed(path: Path, seed: str) -> Ed25519PrivateKey:
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except ValueError:
        raw = b""
    prefix, key, checksum = raw[:2], raw[2:34], raw[34:]
    crc = binascii.crc_hqx(prefix + key, 0).to_bytes(2, "little")
    if prefix != _USER_SEED or len(key) != 32 or checksum != crc:
        raise SettingsError(
            f"CUSTOMERS_NATS_CREDENTIALS={path}: the seed in it is not that of a user, or was "
            "damaged. `nsc generate creds` makes the file anew."
        )
    return Ed25519PrivateKey.from_private_bytes(key)


def _jwt_of(path: Path) -> bytes:
    return _reread(path).jwt.encode()


def _sign(path: Path, nonce: str) -> bytes:
    return base64.b64encode(_reread(path).key.sign(nonce.encode()))


def _reread(path: Path) -> Credentials:
    """The file as it is now: it may have been renewed since the last connection."""
    try:
        return read_credentials(path)
    except SettingsError as error:
        raise nats.errors.Error(str(error)) from error


def _wants_tls(settings: Settings) -> bool:
    schemes = {url.strip().partition("://")[0] for url in servers_of(settings)}
    return bool(schemes & {"tls", "wss"} or settings.nats_ca or settings.nats_cert)


def _tls_context(settings: Settings) -> ssl.SSLContext:
    if bool(settings.nats_cert) != bool(settings.nats_key):
        raise SettingsError(
            "CUSTOMERS_NATS_CERT and CUSTOMERS_NATS_KEY belong together: set both or neither."
        )
    try:
        context = ssl.create_default_context(cafile=settings.nats_ca or None)
    except OSError as error:
        raise _unusable("CUSTOMERS_NATS_CA", settings.nats_ca, error) from error
    if settings.nats_cert:
        try:
            context.load_cert_chain(settings.nats_cert, settings.nats_key)
        except OSError as error:
            names = "CUSTOMERS_NATS_CERT and CUSTOMERS_NATS_KEY"
            values = f"{settings.nats_cert}, {settings.nats_key}"
            raise _unusable(names, values, error) from error
    return context


def _unusable(names: str, values: str, error: OSError) -> SettingsError:
    reason = "not what PEM files hold" if isinstance(error, ssl.SSLError) else error.strerror
    return SettingsError(f"{names}={values}: {reason}.")


def words_of(error: BaseException, settings: Settings) -> str:
    """Why NATS could not be reached, as a person needs to hear it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}); CUSTOMERS_NATS_CA names "
            "the file of the authority that signed it"
        )
    if isinstance(error, nats.errors.SecureConnRequiredError):
        return "it does not speak TLS, and CUSTOMERS_NATS_URL or CUSTOMERS_NATS_CA asks for it"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    words = one_line(error)
    # The alert that says so is often overtaken by the end of the connection.
    is_shut = isinstance(error, ConnectionResetError | BrokenPipeError | ssl.SSLError)
    if is_shut and _wants_tls(settings) and not settings.nats_cert:
        return (
            f"{words}; if it demands a client certificate, set CUSTOMERS_NATS_CERT and "
            "CUSTOMERS_NATS_KEY"
        )
    return words
