"""What the two servers tell of themselves, for `customers status` and `customers doctor`."""

import asyncio
from datetime import UTC, datetime

import nats.errors
import nats.js.errors
import psycopg
from msgspec import Struct
from psycopg.rows import TupleRow

from runtime.lifecycle import Process, read_processes
from runtime.nats_access import connected_once, words_of
from runtime.postgres import connect_as_owner
from runtime.progress import Progress, read_progress
from runtime.schema import migration_names
from runtime.scrub.record import ScrubState, read_scrub_state
from runtime.settings import Settings, SettingsError
from runtime.words import one_line

_NATS_SECONDS = 3.0

_SERVER = """
SELECT current_setting('server_version'), current_setting('server_version_num')::int,
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm'),
       clock_timestamp(), to_regclass('public.customers_migrations') IS NOT NULL
"""
_NOT_THE_OWNER = (
    "the user of CUSTOMERS_DATABASE_URL may not see how all are, only the one who ran "
    "`customers migrate` may: in compose, docker compose run --rm migrate status"
)
_APPLIED = "SELECT name FROM public.customers_migrations"
_KEYS = "SELECT master_key_id, keys FROM keyring.master_keys ORDER BY 1"


class Positions(Struct, frozen=True, kw_only=True):
    """How far the log is, how far the read model, and who works on them."""

    progress: Progress
    processes: list[Process]
    scrub: ScrubState | None = None


class DatabaseFacts(Struct, frozen=True, kw_only=True):
    """What Postgres tells of itself; the positions only when the migrations are all applied."""

    version: str
    version_number: int
    has_trigrams: bool
    clock_skew_seconds: float
    applied: list[str]
    pending: list[str]
    positions: Positions | None


class NatsFacts(Struct, frozen=True, kw_only=True):
    """What NATS tells of itself and of one JetStream stream; None: there is none of that name."""

    version: str
    has_jetstream: bool
    last_sequence: int | None
    max_payload: int


class Unknown(Struct, frozen=True):
    """A server that could not be asked, and why."""

    reason: str
    is_refused: bool = False
    """It answers, but not to this user."""


def ask_database(settings: Settings) -> DatabaseFacts | Unknown:
    """Ask on one short connection with the rights of the URL."""
    try:
        with connect_as_owner(settings, "customers status") as connection:
            return _ask_database(connection, settings)
    except psycopg.errors.InsufficientPrivilege:
        return Unknown(_NOT_THE_OWNER, is_refused=True)
    except psycopg.Error as error:
        return Unknown(one_line(error))


def _ask_database(connection: psycopg.Connection[TupleRow], settings: Settings) -> DatabaseFacts:
    before = datetime.now(UTC)
    version, number, has_trigrams, its_time, is_migrated = _one(connection.execute(_SERVER))
    after = datetime.now(UTC)
    rows = connection.execute(_APPLIED).fetchall() if is_migrated else []
    applied = sorted(str(name) for (name,) in rows)
    pending = [name for name in migration_names() if name not in applied]
    # Anywhere between question and answer is no skew.
    skew = min(max(its_time, before), after) - its_time
    return DatabaseFacts(
        version=str(version).split()[0],
        version_number=number,
        has_trigrams=has_trigrams,
        clock_skew_seconds=abs(skew.total_seconds()),
        applied=applied,
        pending=pending,
        positions=None if pending else _read_positions(connection, settings),
    )


def _read_positions(connection: psycopg.Connection[TupleRow], settings: Settings) -> Positions:
    return Positions(
        progress=read_progress(connection, settings.log_id),
        processes=read_processes(connection),
        scrub=read_scrub_state(connection, settings.scrub_days),
    )


def _one(cursor: psycopg.Cursor[TupleRow]) -> TupleRow:
    row = cursor.fetchone()
    if row is None:
        raise psycopg.DataError("no answer where there always is one")
    return row


def ask_keys(settings: Settings) -> dict[str, int]:
    """How many data keys and secrets each master key wraps; none when that cannot be asked."""
    try:
        with connect_as_owner(settings, "customers doctor") as connection:
            return dict(connection.execute(_KEYS).fetchall())
    except psycopg.Error:
        return {}


def ask_nats(settings: Settings, stream: str) -> NatsFacts | Unknown:
    """Ask NATS for its version and for the last sequence of this JetStream stream."""
    if not settings.nats_url:
        return Unknown("CUSTOMERS_NATS_URL is not set")
    try:
        return asyncio.run(_ask_nats(settings, stream))
    except (OSError, TimeoutError, ValueError, SettingsError, nats.errors.Error) as error:
        return Unknown(words_of(error, settings))


async def _ask_nats(settings: Settings, stream: str) -> NatsFacts:
    async with (
        asyncio.timeout(_NATS_SECONDS),
        connected_once(settings, "customers status") as client,
    ):
        server = client.connected_server_version
        jetstream = client.jetstream(timeout=_NATS_SECONDS)
        has_jetstream, last_sequence = True, None
        try:
            last_sequence = (await jetstream.stream_info(stream)).state.last_seq
        except nats.js.errors.NotFoundError:
            pass
        except (nats.js.errors.ServiceUnavailableError, nats.errors.NoRespondersError):
            has_jetstream = False
        return NatsFacts(
            version=f"{server.major}.{server.minor}.{server.patch}",
            has_jetstream=has_jetstream,
            last_sequence=last_sequence,
            max_payload=client.max_payload,
        )
