"""How far the log, its JetStream stream and the read model are, as every process may ask it.

`customers status`, `/metrics` and the alerts tell the same numbers, because all ask here.
"""

from typing import Final, LiteralString

from msgspec import Struct
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow, args_row

_READ: Final[LiteralString] = """
SELECT generation, head, checkpoint, projection_lag_seconds, sequence, stream_lag_seconds, parked,
       receipts
  FROM control.read_progress(%s)
"""


class Progress(Struct, frozen=True):
    """One look at a log; what nobody ever said is None."""

    generation: int
    head: int
    checkpoint: int | None
    projection_lag_seconds: float
    """The age of the oldest event that the read model does not show; 0 when it shows all."""
    sequence: int | None
    """The last sequence of the JetStream stream, as the relay said it at its last beat."""
    stream_lag_seconds: float
    """The age that the oldest event which is not in the stream had at that beat; 0: none."""
    parked: int
    receipts: int
    """How many Idempotency-Keys are kept, as Postgres estimates it."""

    @property
    def projection_lag(self) -> int:
        """How many events the read model is behind."""
        return max(0, self.head - (self.checkpoint or 0))

    @property
    def stream_lag(self) -> int:
        """How many events the stream is behind, as far as the relay has said."""
        return max(0, self.head - (self.sequence or 0))


async def ask_progress(connection: AsyncConnection[TupleRow], log_id: int) -> Progress:
    """Ask as a process of ours; raises psycopg.Error."""
    async with connection.cursor(row_factory=args_row(Progress)) as cursor:
        await cursor.execute(_READ, [log_id])
        return _one(await cursor.fetchone())


def read_progress(connection: Connection[TupleRow], log_id: int) -> Progress:
    """Ask as the owner; raises psycopg.Error."""
    with connection.cursor(row_factory=args_row(Progress)) as cursor:
        return _one(cursor.execute(_READ, [log_id]).fetchone())


def _one(found: Progress | None) -> Progress:
    assert found is not None, "the function has a row whatever there is"  # noqa: S101 - a type guard
    return found
