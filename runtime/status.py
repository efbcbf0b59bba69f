"""How the service does now: versions, positions, lag, processes, and in words what is wrong."""

import importlib.metadata
import time
from collections.abc import Iterator, Sequence

from msgspec import Struct

from runtime.discovery import Running
from runtime.facts import DatabaseFacts, NatsFacts, Positions, Unknown, ask_database, ask_nats
from runtime.lifecycle import TROUBLED, Process
from runtime.progress import Progress
from runtime.settings import Settings
from runtime.words import limit_warning

_KINDS = ("api", "relay", "projector")
# Who is at work is behind for moments; who stands still is behind for good.
_SETTLE_SECONDS = 1.0
_POLL_SECONDS = 0.05


class Versions(Struct, frozen=True, kw_only=True):
    """What runs where; None when it could not be asked."""

    customers: str
    postgres: str | None
    nats: str | None
    migrations_applied: int | None
    migrations_pending: list[str]


class Status(Struct, frozen=True, kw_only=True):
    """Positions, processes, and `problems`: empty exactly when all is well."""

    versions: Versions
    log_id: int
    generation: int | None
    log_head: int | None
    stream_sequence: int | None
    checkpoint: int | None
    lag_events: int | None
    lag_seconds: float | None
    """The age of the oldest event that the read model does not show; 0 when it shows all."""
    parked_customers: int | None
    receipts: int | None
    """How many Idempotency-Keys are remembered, as Postgres estimates it."""
    pids: dict[str, int | None]
    processes: list[Process]
    problems: list[str]


class Facts(Struct, frozen=True, kw_only=True):
    """One look at both servers."""

    database: DatabaseFacts | Unknown
    nats: NatsFacts | Unknown


def read_status(settings: Settings, running: Running | None) -> Status:
    """Ask both servers; who is behind has a second to reach the head of the first look."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    facts = _look(settings)
    head = _head(facts)
    while any(_lags(facts, head)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        facts = _look(settings)
    return describe(settings, running, facts, head)


def describe(settings: Settings, running: Running | None, facts: Facts, head: int) -> Status:
    """The status that follows from the facts; `head` is what everybody had time to reach."""
    database = facts.database if isinstance(facts.database, DatabaseFacts) else None
    nats = facts.nats if isinstance(facts.nats, NatsFacts) else None
    positions = database.positions if database else None
    alive = [process for process in positions.processes if process.alive] if positions else []
    progress = positions.progress if positions else None
    return Status(
        versions=Versions(
            customers=importlib.metadata.version("customers"),
            postgres=database.version if database else None,
            nats=nats.version if nats else None,
            migrations_applied=len(database.applied) if database else None,
            migrations_pending=database.pending if database else [],
        ),
        log_id=settings.log_id,
        generation=progress.generation if progress else None,
        log_head=progress.head if progress else None,
        stream_sequence=nats.last_sequence if nats else None,
        checkpoint=progress.checkpoint if progress else None,
        lag_events=progress.projection_lag if progress else None,
        lag_seconds=progress.projection_lag_seconds if progress else None,
        parked_customers=progress.parked if progress else None,
        receipts=progress.receipts if progress else None,
        pids=running.pids if running else _pids(alive),
        processes=alive,
        problems=[
            *_faults(facts),
            *_limit_warning(settings, facts.nats),
            *_absences(positions is not None, alive),
            *_troubles(alive),
            *_lags(facts, head),
            *_parked(progress),
            *_overdue(positions),
        ],
    )


def _look(settings: Settings) -> Facts:
    database = ask_database(settings)
    known = database.positions if isinstance(database, DatabaseFacts) else None
    stream = f"CUSTOMERS_{settings.log_id}_{known.progress.generation if known else 1}"
    return Facts(database=database, nats=ask_nats(settings, stream))


def _head(facts: Facts) -> int:
    known = facts.database.positions if isinstance(facts.database, DatabaseFacts) else None
    return known.progress.head if known else 0


def _pids(alive: Sequence[Process]) -> dict[str, int | None]:
    newest = {process.kind: process.pid for process in alive}
    return {name: newest.get(name) for name in (*_KINDS, "postgres", "nats")}


def _faults(facts: Facts) -> Iterator[str]:
    if isinstance(facts.database, Unknown):
        yield f"Postgres cannot be asked: {facts.database.reason}."
    elif facts.database.pending:
        yield f"{len(facts.database.pending)} migrations are not applied: run `customers migrate`."
    if isinstance(facts.nats, Unknown):
        yield f"NATS cannot be asked: {facts.nats.reason}. Writes and fresh reads go on without it."
    elif not facts.nats.has_jetstream:
        yield "NATS runs without JetStream, so nothing can be published."


def _limit_warning(settings: Settings, broker: NatsFacts | Unknown) -> Iterator[str]:
    if isinstance(broker, NatsFacts):
        words = limit_warning(broker.max_payload, settings.nats_max_payload)
        yield from [words] if words else []


def _absences(are_known: bool, alive: Sequence[Process]) -> Iterator[str]:
    kinds = {process.kind for process in alive}
    for kind in _KINDS if are_known else ():
        if kind not in kinds:
            yield f"No {kind} is running: start one with `customers {kind}`."


def _troubles(alive: Sequence[Process]) -> Iterator[str]:
    """What processes say of themselves; a beat may be two seconds old."""
    for process in alive:
        condition, words = process.state.get("condition"), process.state.get("words")
        if condition in TROUBLED:
            said = str(words).removesuffix(".")
            yield f"The {process.kind} (process {process.pid}): {condition}, {said}."


def _overdue(positions: Positions | None) -> Iterator[str]:
    scrub = positions.scrub if positions else None
    if scrub is not None and scrub.is_overdue:
        yield (
            f"A scrub was due on {scrub.due_at:%Y-%m-%d}: what was erased since is still in "
            "Postgres' files. Run `customers scrub`."
        )


def _lags(facts: Facts, head: int) -> Iterator[str]:
    known = facts.database.positions if isinstance(facts.database, DatabaseFacts) else None
    progress = known.progress if known else None
    if progress is not None and (progress.checkpoint or 0) < head:
        yield f"The read model is {progress.projection_lag} events behind the log."
    if progress is None or isinstance(facts.nats, Unknown) or not facts.nats.has_jetstream:
        return
    sequence = facts.nats.last_sequence or 0
    if sequence < head:
        yield f"The JetStream stream is {progress.head - sequence} events behind the log."


def _parked(progress: Progress | None) -> Iterator[str]:
    if progress is not None and progress.parked:
        yield (
            f"{progress.parked} customers are parked, and reads show them as they were before: "
            "`customers projections failures` says why."
        )
