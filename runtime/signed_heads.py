"""Signed heads, composed: who signs them, what checks them, and where they are kept."""

from pathlib import Path

from nats.aio.client import Client
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events import head_book
from events.generations import Fork
from events.head_book import HeadBook
from events.head_keeper import HeadKeeper
from events.head_sources import HeadFile, HeadSource, HeadStream, HeadTable
from events.heads import PublicKeys, Signer, public_bytes, public_keys
from runtime.nats import NatsLine
from runtime.postgres import Role, connect_copied
from runtime.settings import Settings, read_audit_keys, read_signing_keys


def trusted_keys(settings: Settings) -> PublicKeys:
    """The public keys that heads are checked with; raises SettingsError."""
    raw = read_audit_keys(settings) or {
        name: public_bytes(seed) for name, seed in read_signing_keys(settings).items()
    }
    return public_keys(raw)


def open_book(
    settings: Settings, connection: AsyncConnection[TupleRow], stream: HeadStream | None
) -> HeadBook:
    """The heads of a log, in every place where the settings want them; needs a signing key."""
    key_id, seed = next(iter(read_signing_keys(settings).items()))
    keys = trusted_keys(settings)
    return HeadBook(
        connection, settings.log_id, Signer(key_id, seed), keys, _others(settings, stream)
    )


async def find_fork(
    settings: Settings, connection: AsyncConnection[TupleRow], client: Client
) -> Fork | None:
    """Where the log left what was signed; None when it agrees with all of it."""
    stream = HeadStream(lambda: client, settings.log_id)
    table = HeadTable(connection, settings.log_id)
    places = [table, *_others(settings, stream)]
    return await head_book.find_fork(connection, settings.log_id, places)


def head_keeper(settings: Settings, line: NatsLine) -> HeadKeeper | None:
    """Who signs heads on a schedule, when there is a key to sign with; raises SettingsError."""
    if not read_signing_keys(settings):
        return None
    stream = HeadStream(line.client, settings.log_id, replicas=settings.stream_replicas)
    return HeadKeeper(
        lambda: connect_copied(settings, Role.RELAY, "customers relay heads"),
        lambda connection: open_book(settings, connection, stream),
        settings.log_id,
        seconds=settings.head_seconds,
    )


def _others(settings: Settings, stream: HeadStream | None) -> list[HeadSource]:
    """Where heads are kept beside the table."""
    file = [HeadFile(Path(settings.head_file))] if settings.head_file else []
    return [*file, *([] if stream is None else [stream])]
