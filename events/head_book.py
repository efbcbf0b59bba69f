"""Signs heads, each going on from all that were signed before, and keeps them where they belong.

A signature is worth something because this service gives none for a history that contradicts an
earlier one. So before it signs, the newest head of every place where heads are kept must be a place
of the log as it is now: the same chain, the same Merkle root, and from there on a chain without a
break. What a later generation has left behind is excused; it says in every head where it forked.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, LiteralString

import nats.errors
import structlog
from nats.js.errors import APIError
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events import generations
from events.append import Head
from events.chain import GENESIS, next_chain
from events.envelope import Position
from events.errors import EventsError
from events.head_sources import HeadSource, HeadTable
from events.heads import (
    Fork,
    PublicKeys,
    SignedHead,
    Signer,
    fault_of_generation,
    fault_of_log,
    fault_of_signature,
    is_binding,
)
from events.jetstream import stream_name
from events.log import LogReader
from events.merkle import Span
from events.subtrees import Subtrees
from runtime.clock import format_time
from runtime.words import one_line

_PAGE: Final = 4096
_AWAY: Final = (nats.errors.Error, APIError, TimeoutError, OSError)
_UNDECIDED: Final = (
    "Was it restored on purpose: `customers relay new-generation` says so to everybody who keeps "
    "heads. `customers verify` shows what is there."
)

FORKS: Final[LiteralString] = (
    "SELECT generation, forked_at FROM log.generations WHERE log_id = %s ORDER BY generation"
)
_CHAIN: Final[LiteralString] = (
    "SELECT chain FROM log.events WHERE log_id = %b::int4 AND position = %b::int8"
)
_LINKS: Final[LiteralString] = """
SELECT digest, chain FROM log.events
 WHERE log_id = %b::int4 AND position > %b::int8 AND position <= %b::int8 ORDER BY position
"""

log = structlog.get_logger()


class SigningRefused(EventsError):
    """The log contradicts what was signed before: no head is signed."""


class HeadBook:
    """All heads of one log, where one connection and the given places hold them.

    The table comes first; another place may be away, and is brought up to date when it is back.
    """

    def __init__(
        self,
        connection: AsyncConnection[TupleRow],
        log_id: int,
        signer: Signer,
        keys: PublicKeys,
        others: Sequence[HeadSource],
    ) -> None:
        self._connection = connection
        self._log_id = log_id
        self._signer = signer
        self._keys = keys
        self._table = HeadTable(connection, log_id)
        self._others = others
        self._subtrees = Subtrees(connection, log_id)
        self._kept: dict[str, str] = {}
        """By place that was read, the time of the newest head there."""
        self._behind: SignedHead | None = None
        """The newest head that the log is known to agree with."""
        self.unkept: dict[str, str] = {}
        """By place that does not take heads now, why."""

    async def write(self) -> SignedHead | None:
        """Sign how the log ends, unless that is signed already; the newest head, if any.

        Raises SigningRefused.
        """
        end = await LogReader(self._connection, self._log_id).head()
        cursor = await self._connection.execute(FORKS, [self._log_id])
        forks = [Fork(*row) for row in await cursor.fetchall()]
        if self._behind is not None and not is_binding(self._behind, forks):
            # The log has forked since: what it still has to agree with is to be found again.
            self._kept, self._behind = {}, None
        try:
            await self._read_places(end, forks)
            head = self._behind
            if head is not None:
                await self._check(self._table.name, head, end, forks)
            if end.position and (head is None or _has_moved(head, end)):
                head = await self._sign(end, forks)
                await self._table.append(head)
                self._kept[self._table.name] = head.time
                self._behind = head
        except EventsError:
            self._kept, self._behind = {}, None
            raise
        await self._bring_up_to_date()
        return head

    async def _read_places(self, end: Head, forks: Sequence[Fork]) -> None:
        """Hold the log against the newest heads of each place that was not read yet."""
        for place in (self._table, *self._others):
            if place.name in self._kept:
                continue
            newest, binding = None, None
            try:
                async for head in place.read():
                    newest = head
                    binding = head if is_binding(head, forks) else binding
            except _AWAY as error:
                self._note(place, error)
                continue
            if binding is not None:
                await self._check(place.name, binding, end, forks)
                if self._behind is None or self._behind.position < binding.position:
                    self._behind = binding
            self._kept[place.name] = newest.time if newest else ""
            self.unkept.pop(place.name, None)

    async def _check(self, place: str, head: SignedHead, end: Head, forks: Sequence[Fork]) -> None:
        """Refuse to go on from a head that the log does not agree with."""
        # One that an old key signed is held against the log all the same.
        is_known = head.key in self._keys
        fault = (
            (fault_of_signature(head, self._keys) if is_known else None)
            or fault_of_log(head, self._log_id)
            or fault_of_generation(head, forks)
        )
        if fault:
            raise SigningRefused(f"{head.words}, kept in {place}, {fault}. {_UNDECIDED}")
        if head.position > end.position:
            raise SigningRefused(
                f"The log ends at {end.position}, and {head.words} was signed: the database was "
                f"restored to an earlier point, or the end was cut off. {_UNDECIDED}"
            )
        if await chain_at(self._connection, self._log_id, head.position) != head.chain:
            raise SigningRefused(
                f"The log has another chain than {head.words}: its history was rewritten, or the "
                f"database was restored to an earlier point. {_UNDECIDED}"
            )
        if (await self._subtrees.root(Span(0, head.position))).hex() != head.root:
            raise SigningRefused(
                f"{head.words} has another Merkle root than is computed now, though the same "
                "chain: log.subtrees was changed. Its owner empties it by TRUNCATE, and it is "
                "filled again."
            )

    async def _sign(self, end: Head, forks: Iterable[Fork]) -> SignedHead:
        """A head for the end of the log, which goes on from the newest one known."""
        await self._check_links(end)
        await self._subtrees.fill(end.position)
        root = await self._subtrees.root(Span(0, end.position))
        forked_at = dict(forks).get(end.generation, 0)
        now = format_time(datetime.now(UTC))
        newest = max(self._kept.values(), default="")
        return self._signer.sign(
            SignedHead(
                log=self._log_id,
                generation=end.generation,
                forked_at=forked_at,
                position=end.position,
                chain=end.chain.hex(),
                tree_size=end.position,
                root=root.hex(),
                # By it one sees which heads a place lacks: it never stands still.
                time=now if now > newest else _just_after(newest),
                key="",
            )
        )

    async def _check_links(self, end: Head) -> None:
        """Whether the chain has no break from the newest head known to the end."""
        position = self._behind.position if self._behind else 0
        chain = bytes.fromhex(self._behind.chain) if self._behind else GENESIS
        while position < end.position:
            asked = [self._log_id, position, min(position + _PAGE, end.position)]
            rows = await (await self._connection.execute(_LINKS, asked)).fetchall()
            for digest, its_chain in rows:
                position += 1
                chain = next_chain(chain, bytes(digest))
                if chain != bytes(its_chain):
                    raise SigningRefused(
                        f"The chain of the log breaks at or before position {position}: it was "
                        "changed there. `customers verify` shows what is there."
                    )
            if not rows:
                break
        if position != end.position or chain != end.chain:
            raise SigningRefused(
                f"The chain of the log breaks behind position {position}: it was changed there. "
                "`customers verify` shows what is there."
            )

    async def _bring_up_to_date(self) -> None:
        """Append to each place what the table holds and it does not."""
        newest = self._kept.get(self._table.name, "")
        for place in self._others:
            kept = self._kept.get(place.name)
            if kept is None or kept >= newest:
                continue
            try:
                if await place.make():
                    kept = ""
                async for head in self._table.read():
                    if head.time > kept:
                        await place.append(head)
                        self._kept[place.name] = head.time
            except _AWAY as error:
                self._note(place, error)
            else:
                self.unkept.pop(place.name, None)

    def _note(self, place: HeadSource, error: Exception) -> None:
        words = one_line(error)
        if self.unkept.get(place.name) != words:
            log.warning("heads.not_kept", place=place.name, error=words)
        self.unkept[place.name] = words


async def find_fork(
    connection: AsyncConnection[TupleRow], log_id: int, places: Sequence[HeadSource]
) -> generations.Fork | None:
    """Where the log left what was signed; None when it agrees with all of it.

    For a log that was restored together with its JetStream stream: only heads know what was lost.
    """
    end = await LogReader(connection, log_id).head()
    cursor = await connection.execute(FORKS, [log_id])
    forks = [Fork(*row) for row in await cursor.fetchall()]
    shared, lost = 0, 0
    for place in places:
        try:
            async for head in place.read():
                if not is_binding(head, forks):
                    continue
                if await chain_at(connection, log_id, head.position) == head.chain:
                    shared = max(shared, head.position)
                else:
                    lost = max(lost, head.position)
        except _AWAY as error:
            log.warning("heads.away", place=place.name, error=one_line(error))
    if not lost:
        return None
    return generations.Fork(
        generation=end.generation,
        stream="what was signed",
        next_stream=stream_name(log_id, end.generation + 1),
        shared=Position(shared),
        ends_at=lost,
    )


async def chain_at(connection: AsyncConnection[TupleRow], log_id: int, position: int) -> str:
    """The chain at a position in hex; empty when the log has not come so far."""
    if position == 0:
        return GENESIS.hex()
    row = await (await connection.execute(_CHAIN, [log_id, position])).fetchone()
    return bytes(row[0]).hex() if row else ""


def _has_moved(head: SignedHead, end: Head) -> bool:
    return (head.generation, head.position) != (end.generation, end.position)


def _just_after(time: str) -> str:
    return format_time(datetime.fromisoformat(time) + timedelta(microseconds=1))
