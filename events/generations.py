"""Lineages of a log: when history forked, the log goes on in a JetStream stream of its own.

Postgres was restored to an earlier point, say, and the stream holds events that the log has no
longer. Those cannot be taken back from the subscribers that read them. A new generation tells them:
its stream holds the log from its beginning, and where a place is not of it, they notice.
"""

from typing import Final, LiteralString

from msgspec import Struct
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import Position
from events.errors import NoFork
from events.jetstream import CHAIN_HEADER, headers_of, lineage_subjects, stream_name
from events.log import LogReader

# The generation behind the current one; NULL when somebody else has begun it.
_BEGIN: Final[LiteralString] = "SELECT log.begin_generation(%b::int4, %b::int4, %b::int8, %b)"


class Fork(Struct, frozen=True, kw_only=True):
    """Where the stream of a generation and the log part."""

    generation: int
    stream: str
    next_stream: str
    shared: Position
    """The last position at which both have the same history."""
    ends_at: int
    """The last sequence of the stream."""


async def find_fork(reader: LogReader, jetstream: JetStreamContext, log_id: int) -> Fork:
    """Where the stream left the log.

    Raises NoFork when it is a copy of the log so far, or when there is none.
    """
    generation = (await reader.head()).generation
    name = stream_name(log_id, generation)
    subjects = lineage_subjects(log_id, generation)
    try:
        last = (await jetstream.stream_info(name)).state.last_seq
    except NotFoundError:
        raise NoFork(name, "does not exist, and the relay makes it from the log") from None
    # Asked behind the stream: the log can only have grown since.
    head = (await reader.head()).position
    low, high = 0, min(last, head)
    # The chain at a position stands for everything before it.
    while low < high:
        middle = (low + high + 1) // 2
        if await _is_shared(reader, jetstream, name, subjects, middle):
            low = middle
        else:
            high = middle - 1
    if low == last:
        raise NoFork(name, f"is a copy of the log up to {last}")
    return Fork(
        generation=generation,
        stream=name,
        next_stream=stream_name(log_id, generation + 1),
        shared=Position(low),
        ends_at=last,
    )


async def begin_generation(
    connection: AsyncConnection[TupleRow], log_id: int, fork: Fork, reason: str
) -> None:
    """Let the log go on in the next generation.

    Raises NoFork when somebody else has begun one meanwhile.
    """
    asked = [log_id, fork.generation, fork.shared, reason]
    row = await (await connection.execute(_BEGIN, asked)).fetchone()
    if row is None or row[0] is None:
        raise NoFork(fork.stream, "is no longer that of the log: another generation was begun")


async def _is_shared(
    reader: LogReader, jetstream: JetStreamContext, name: str, subjects: str, position: int
) -> bool:
    """Whether the first message at a position, or behind it, is the event of the log there."""
    try:
        # Behind it, because the message itself may have been erased.
        message = await jetstream.get_msg(name, seq=position, next=True, subject=subjects)
    except NotFoundError:
        return False
    sequence = message.seq or 0
    event = await reader.read_at(Position(sequence))
    chain = headers_of(message).get(CHAIN_HEADER)
    return event is not None and chain == event.stored.chain.hex()
