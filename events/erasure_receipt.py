"""The receipt of an erasure: what was destroyed where and when, what is still to go, what stays."""

from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias
from uuid import UUID

from msgspec import Struct

from events.erasure import Erasure
from runtime.clock import format_time

State: TypeAlias = Literal["done", "pending", "scheduled"]

KEPT: Final = (
    "The customer's id, and that and when it was erased.",
    (
        "Of each event in the log: its place, time, type, version and API key, and its ciphertext, "
        "which nobody can open. They prove that nothing else was taken out of the log."
    ),
    (
        "Of requests with an Idempotency-Key: a hash of the key, ids and versions, for a few days; "
        "so a late repeat is answered 410, and makes nobody anew."
    ),
)


class Place(Struct, frozen=True, kw_only=True):
    """One place where the person was known."""

    where: str
    state: State
    at: str | None = None
    """Since when nothing of the person is there."""
    by: str | None = None
    """Until when at the latest something of the person may be there."""
    count: int | None = None
    what: str


class Receipt(Struct, frozen=True, kw_only=True):
    """What an erasure did; the same whenever it is asked for, but for what was still to go."""

    customer_id: UUID
    erased_at: str
    finished: bool
    """Whether nothing is pending; what is scheduled goes by its date."""
    places: tuple[Place, ...]
    kept: tuple[str, ...] = KEPT


class Retention(Struct, frozen=True, kw_only=True):
    """How long copies outlive an erasure, as the settings say."""

    scrub_days: int
    backup_days: int


def receipt_of(erasure: Erasure, retention: Retention) -> Receipt:
    """The receipt of an erasure as it stands."""
    places = (*_in_the_database(erasure), *_outside(erasure), *_later(erasure, retention))
    return Receipt(
        customer_id=erasure.stream_id,
        erased_at=format_time(erasure.erased_at),
        finished=all(place.state != "pending" for place in places),
        places=places,
    )


def _in_the_database(erasure: Erasure) -> tuple[Place, ...]:
    at = format_time(erasure.key_destroyed_at)
    return (
        Place(
            where="log",
            state="done",
            at=at,
            count=erasure.events,
            what="Events that nobody can read any more: the customer's data key was destroyed.",
        ),
        Place(
            where="external_id",
            state="done",
            at=at,
            count=erasure.reservations,
            what="Reservations of an external_id that were dropped; it may be used again.",
        ),
        Place(
            where="idempotency",
            state="done",
            at=at,
            count=erasure.receipts,
            what="Requests with an Idempotency-Key whose content can no longer be compared.",
        ),
        _stepwise(
            "read_model",
            erasure.forgotten_at,
            erasure.editions,
            "Editions of the read model without the customer: list, search, tags and counts.",
        ),
    )


def _outside(erasure: Erasure) -> tuple[Place, ...]:
    return (
        _stepwise(
            "jetstream",
            erasure.messages_deleted_at,
            erasure.messages,
            "Messages in the JetStream streams, deleted and overwritten on disk.",
        ),
        _stepwise(
            "ledger",
            erasure.ledger_at,
            None,
            "Its entry outside of the database: what is restored from a backup loses the customer "
            "again before it is served.",
        ),
    )


def _later(erasure: Erasure, retention: Retention) -> tuple[Place, ...]:
    due, done = erasure.erased_at + timedelta(days=retention.scrub_days), erasure.scrubbed_at
    # A copy of the data files, made until they were clean, has what was in them.
    expired = max(due, done or due) + timedelta(days=retention.backup_days)
    return (
        _scheduled_scrub(due)
        if done is None
        else Place(
            where="data_files",
            state="done",
            at=format_time(done),
            what="Postgres' data files and WAL were all written anew by a scrub, without what "
            "deleted rows leave behind.",
        ),
        Place(
            where="backups",
            state="scheduled",
            by=format_time(expired),
            what="Backups from before may hold the person until they expire.",
        ),
    )


def _scheduled_scrub(due: datetime) -> Place:
    return Place(
        where="data_files",
        state="scheduled",
        by=format_time(due),
        what="Postgres' data files and WAL may hold remains of deleted rows until the "
        "scheduled scrub; no query finds them, and no dump has them.",
    )


def _stepwise(where: str, at: datetime | None, count: int | None, what: str) -> Place:
    if at is None:
        return Place(where=where, state="pending", what=what)
    return Place(where=where, state="done", at=format_time(at), count=count, what=what)
