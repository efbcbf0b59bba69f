"""The call that appends a batch: what goes into it, and what its rows say."""

from collections.abc import Iterable, Sequence
from typing import Final, LiteralString

import msgspec
from psycopg.rows import TupleRow

from events.append import (
    Appended,
    ExternalIdHeld,
    Group,
    Outcome,
    Replayed,
    VersionConflict,
)

# Appends groups; the function takes the log's lock, so this is one round trip in one transaction.
APPEND: Final[LiteralString] = """
SELECT * FROM log.append(
    %b::int4, %b::text[], %b::uuid[], %b::int4[], %b::int4[], %b::int4[], %b::int4[],
    %b::bytea[], %b::bytea[], %b::text[],
    %b::uuid[], %b::int4[], %b::uuid[], %b::text[], %b::int4[], %b::uuid[],
    %b::bytea[], %b::bytea[],
    %b::uuid[], %b::uuid[], %b::text[], %b::bytea[],
    %b::text[], %b::uuid[], %b::text[], %b::uuid[])
"""


def parameters_of(log_id: int, groups: Sequence[Group]) -> list[object]:
    """What APPEND is given for these groups."""
    events = [event for group in groups for event in group.events]
    keys = [key for group in groups for key in group.data_keys]
    frees = [free for group in groups for free in group.frees]
    takes = [take for group in groups for take in group.takes]
    receipts = [group.receipt for group in groups]
    return [
        log_id,
        [group.workspace_id for group in groups],
        [group.command_id for group in groups],
        [len(group.events) for group in groups],
        [len(group.data_keys) for group in groups],
        [len(group.frees) for group in groups],
        [len(group.takes) for group in groups],
        [None if receipt is None else receipt.key_hmac for receipt in receipts],
        [None if receipt is None else receipt.payload_hmac for receipt in receipts],
        [None if receipt is None else receipt.outcome.decode() for receipt in receipts],
        *_columns(events, _EVENT_COLUMNS),
        *_columns(keys, ("data_key_id", "stream_id", "master_key_id", "wrapped")),
        *_columns(frees, ("external_id", "stream_id")),
        *_columns(takes, ("external_id", "stream_id")),
    ]


_EVENT_COLUMNS: Final = (
    "stream_id",
    "stream_version",
    "event_id",
    "type",
    "schema_version",
    "data_key_id",
    "payload",
    "metadata",
)


def _columns(rows: Iterable[object], names: Sequence[str]) -> list[list[object]]:
    return [[getattr(row, name) for row in rows] for name in names]


def outcome_of(row: TupleRow) -> Outcome:
    """What a row of APPEND says became of its group."""
    (outcome, first_position, recorded_at, stream_id, external_id, command_id, payload_hmac,
     receipt, generation, chain) = row  # fmt: skip
    match outcome:
        case "appended":
            return Appended(
                generation=generation,
                first_position=first_position,
                recorded_at=recorded_at,
                chain=bytes(chain),
            )
        case "version_conflict":
            return VersionConflict(stream_id=stream_id)
        case "key_taken":
            return ExternalIdHeld(external_id=external_id, holder=stream_id)
        case "replayed":
            return Replayed(
                command_id=command_id,
                payload_hmac=bytes(payload_hmac),
                outcome=msgspec.Raw(msgspec.json.encode(receipt)),
                recorded_at=recorded_at,
            )
        case _:
            raise AssertionError(f"log.append answered {outcome!r}")
