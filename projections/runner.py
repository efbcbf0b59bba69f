"""Keeps one edition up to date with one log, whatever happens to NATS, Postgres or other projectors.

    catching up ──► live ──► catching up              far behind, or the stream has a hole
        ▲             │
        └─ standing by ◄─ another projector moved the checkpoint; back when it no longer does

Live means: what JetStream delivers is applied; the log is read when little is going on, because
that is the shorter way, and whenever JetStream is silent while the log's head is ahead.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import psycopg
import structlog
from msgspec import Struct
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import Position
from events.keys import Keyring
from events.log import LogReader
from events.subscriber import JetStreamSource
from projections.checkpoint import find_live_edition, open_checkpoint
from projections.customers import LogEvent
from projections.failures import list_failures
from projections.opening import open_events
from projections.projector import Projector

BATCH_MAX: Final = 1000
SILENT_SECONDS: Final = 0.1
# Up to this many events in the last batch, reading the log beats waiting for the relay.
_FEW_EVENTS: Final = 8
# A batch costs half a millisecond however small it is: while events keep coming, gather some.
_GATHER_SECONDS: Final = 0.005
_GATHER_UNTIL: Final = 100
_KEEP_COMING_SECONDS: Final = 0.01
_STANDBY_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 1.0

log = structlog.get_logger()

Condition = Literal["starting", "catching up", "live", "standing by", "stopped"]


class ProjectorState(Struct, frozen=True, kw_only=True):
    """What a projector says of itself: its condition, in words too, and how far it is."""

    condition: Condition = "starting"
    words: str = ""
    checkpoint: int = 0
    parked: int = 0


class _GenerationChanged(Exception):
    """The log goes on in another lineage."""


class ProjectorRunner:
    """Projects for ever; runs until its task is cancelled.

    `connect` makes a connection in the projector's role. `ring` tells the readers of a new
    checkpoint; it must not raise. `client` raises nats.errors.Error while NATS is away.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection[TupleRow]]],
        client: Callable[[], Client],
        keyring: Keyring,
        ring: Callable[[Position], Awaitable[None]],
        *,
        log_id: int,
        edition: int | None = None,
    ) -> None:
        pass
