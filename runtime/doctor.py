"""Everything this machine and its servers need, checked one by one, each with its mend."""

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from runtime.dev.folder import DEFAULT_FOLDER
from runtime.discovery import Running
from runtime.embedded import binaries
from runtime.embedded.ports import is_free
from runtime.facts import DatabaseFacts, Unknown, ask_database, ask_keys, ask_nats
from runtime.failure import Failure
from runtime.lifecycle import TROUBLED
from runtime.sessions import ask_transactions
from runtime.settings import Settings, SettingsError, read_master_keys

_SKEW_SECONDS_MAX = 1.0
_POSTGRES_MIN = 160_000
_NATS_MIN = (2, 12)


class Check(Struct, frozen=True, kw_only=True):
    """One thing looked at: fine, faulty with a mend, or (None) not to be judged yet."""

    name: str
    is_fine: bool | None
    said: str
    mend: str = ""


def examine(settings: Settings, running: Running | None) -> Iterator[Check]:
    """The checks in the order in which a mend of one may mend the next."""
    yield _python()
    if running is None and not settings.database_url:
        yield from _starting(settings)
        yield Check(
            name="servers", is_fine=None, said="none known yet: `customers dev` starts them"
        )
        return
    facts = ask_database(settings)
    yield _master_key(settings, facts)
    yield from _missing_keys(settings, facts)
    yield from _database(facts)
    yield from _transactions(settings)
    yield from _scrub(facts)
    yield from _nats(settings)


def _python() -> Check:
    return Check(
        name="Python",
        is_fine=sys.version_info >= (3, 11),
        said=platform.python_version(),
        mend="install Python 3.11 or newer and make the environment again",
    )


def _starting(settings: Settings) -> Iterator[Check]:
    """What `customers dev` needs to start."""
    for name, find in (
        ("Postgres programs", lambda: binaries.find_postgres(settings.pg_bin)),
        ("nats-server program", lambda: binaries.find_nats(settings.nats_bin)),
    ):
        try:
            yield Check(name=name, is_fine=True, said=str(find()))
        except Failure as failure:
            yield Check(name=name, is_fine=False, said=failure.reason, mend=failure.try_next)
    existing = _nearest_existing(DEFAULT_FOLDER.absolute())
    yield Check(
        name="data folder",
        is_fine=os.access(existing, os.W_OK | os.X_OK),
        said=str(DEFAULT_FOLDER.absolute()),
        mend=f"make {existing} writable, or customers dev --data-dir DIR",
    )
    is_port_free = is_free(settings.host, settings.port)
    yield Check(
        name="port",
        is_fine=is_port_free,
        said=f"{settings.port} is {'free' if is_port_free else 'taken by another program'}",
        mend="customers dev --port 0, or CUSTOMERS_PORT=8081",
    )


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _master_key(settings: Settings, facts: DatabaseFacts | Unknown) -> Check:
    if not settings.master_keys and _somebody_runs(facts):
        said = "not given to this process; those that run have theirs"
        return Check(name="master key", is_fine=None, said=said)
    try:
        keys = read_master_keys(settings)
    except SettingsError as error:
        return Check(
            name="master key", is_fine=False, said=str(error), mend="customers keys master"
        )
    return Check(name="master key", is_fine=True, said=f"current: {keys.current}")


def _missing_keys(settings: Settings, facts: DatabaseFacts | Unknown) -> Iterator[Check]:
    if isinstance(facts, Unknown) or facts.positions is None or not settings.master_keys:
        return
    try:
        known = read_master_keys(settings).by_id
    except SettingsError:
        # Said already.
        return
    for name, keys in ask_keys(settings).items():
        if name not in known:
            yield Check(
                name=f"master key {name}",
                is_fine=False,
                said=f"{keys} keys are wrapped by it, and it is not in CUSTOMERS_MASTER_KEYS: "
                "what they protect cannot be read",
                mend="put it back behind the others; customers master-keys status",
            )


def _somebody_runs(facts: DatabaseFacts | Unknown) -> bool:
    # No process starts without master keys.
    positions = None if isinstance(facts, Unknown) else facts.positions
    return positions is not None and any(process.alive for process in positions.processes)


def _database(facts: DatabaseFacts | Unknown) -> Iterator[Check]:
    if isinstance(facts, Unknown):
        yield Check(
            name="Postgres",
            is_fine=None if facts.is_refused else False,
            said=facts.reason,
            mend="start it, or correct CUSTOMERS_DATABASE_URL "
            "(postgresql://user:password@host:5432/database)",
        )
        return
    yield Check(
        name="Postgres",
        is_fine=facts.version_number >= _POSTGRES_MIN,
        said=facts.version,
        mend="use Postgres 16 or newer; `customers dev` brings one",
    )
    yield Check(
        name="pg_trgm",
        is_fine=facts.has_trigrams,
        said="available" if facts.has_trigrams else "not installed on the server",
        mend="install the contrib package of this Postgres (postgresql-contrib)",
    )
    yield _clocks(facts)
    yield Check(
        name="migrations",
        is_fine=not facts.pending,
        said=f"{len(facts.applied)} applied"
        + (f", pending: {', '.join(facts.pending)}" if facts.pending else ""),
        mend="customers migrate",
    )
    yield from _parked(facts)
    for process in facts.positions.processes if facts.positions else ():
        condition = process.state.get("condition")
        if process.alive and condition in TROUBLED:
            yield Check(
                name=f"{process.kind} {process.pid}",
                is_fine=False,
                said=f"{condition}: {process.state.get('words')}",
                mend="do as it says; `customers status` shows whether that helped",
            )


def _parked(facts: DatabaseFacts) -> Iterator[Check]:
    if facts.positions is not None:
        parked = facts.positions.progress.parked
        yield Check(
            name="parked customers",
            is_fine=not parked,
            said=f"{parked:,}, and reads show them as they were before" if parked else "none",
            mend="customers projections failures; customers projections retry once that is mended",
        )


def _transactions(settings: Settings) -> Iterator[Check]:
    for one in ask_transactions(settings):
        yield Check(
            name="append" if one.holds_log else "transaction",
            is_fine=False,
            said=one.words,
            mend=one.mend,
        )


def _scrub(facts: DatabaseFacts | Unknown) -> Iterator[Check]:
    scrub = None if isinstance(facts, Unknown) or not facts.positions else facts.positions.scrub
    if scrub is None:
        return
    last = f"the last was begun {scrub.last.started_at:%Y-%m-%d}" if scrub.last else "none so far"
    left_over = scrub.last.left_over if scrub.last else []
    yield Check(
        name="scrub",
        # What is left over may be as this server is meant to be: an archive, a standby.
        is_fine=False if scrub.is_overdue else None if left_over else True,
        said="; ".join([f"{last}, the next is due {scrub.due_at:%Y-%m-%d}", *left_over]),
        mend="customers scrub",
    )


def _clocks(facts: DatabaseFacts) -> Check:
    skew = facts.clock_skew_seconds
    return Check(
        name="clocks",
        is_fine=skew <= _SKEW_SECONDS_MAX,
        said=f"{skew:.3f} s between this machine and Postgres",
        mend="let both machines take their time from the network (chrony, systemd-timesyncd)",
    )


def _nats(settings: Settings) -> Iterator[Check]:
    facts = ask_nats(settings, f"CUSTOMERS_{settings.log_id}_1")
    if isinstance(facts, Unknown):
        yield Check(
            name="NATS",
            is_fine=False,
            said=facts.reason,
            mend="start it, or correct CUSTOMERS_NATS_URL (nats://user:password@host:4222) and "
            "the other CUSTOMERS_NATS_… settings",
        )
        return
    major, minor = (int(part) for part in facts.version.split(".")[:2])
    yield Check(
        name="NATS",
        is_fine=(major, minor) >= _NATS_MIN,
        said=facts.version,
        mend="use NATS 2.12 or newer: it publishes in atomic batches; `customers dev` brings one",
    )
    yield Check(
        name="JetStream",
        is_fine=facts.has_jetstream,
        said="on" if facts.has_jetstream else "off",
        mend="start nats-server with -js and a store directory",
    )
    yield Check(
        name="NATS max_payload",
        is_fine=facts.max_payload >= settings.nats_max_payload,
        said=f"{facts.max_payload} bytes",
        mend=f"set it to {settings.nats_max_payload} in NATS' configuration, or "
        f"CUSTOMERS_NATS_MAX_PAYLOAD={facts.max_payload} for the API",
    )
