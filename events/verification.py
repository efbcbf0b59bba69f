"""Verifies a log: that each event is what was written, that none is missing, moved or added, that
every key is there unless its customer was erased and can be opened, and that signed heads agree.

Memory stays the same however long the log is, but for one number a workspace and a kilobyte a
signed head. Stream versions are checked by Postgres, which sorts them in 64 MB and, when those do
not suffice, in files of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final, LiteralString

from msgspec import Struct, field
from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from events.chain import GENESIS
from events.chain_walk import ChainWalk, Fault, Start, copy_rows
from events.errors import PositionBeyondEnd
from events.heads import (
    Fork,
    PublicKeys,
    SignedHead,
    binding_until,
    fault_of_generation,
    fault_of_log,
    fault_of_signature,
    is_binding,
)
from events.key_check import KeyCheck
from events.keys import Keyring
from events.log import LogReader
from events.strays import find_strays

_BEFORE_ALL: Final = -(2**63)

_FORKS: Final[LiteralString] = (
    "SELECT generation, forked_at FROM log.generations WHERE log_id = %s ORDER BY generation"
)
_START: Final[LiteralString] = """
SELECT chain, (extract(epoch FROM recorded_at - '2000-01-01T00:00Z') * 1000000)::int8
  FROM log.events WHERE log_id = %s AND position = %s
"""
# What a workspace had in front of the first event that was walked over.
_SEQUENCE: Final[LiteralString] = """
SELECT EXISTS (SELECT FROM log.events WHERE workspace_id = %s AND log_id = %s
                  AND workspace_sequence = %s AND position < %s)
"""
# The first event that is not one version behind the event of its customer that comes before it.
_VERSIONS: Final[LiteralString] = """
SELECT position, stream_id, stream_version, version_before, position_before, workspace_before
  FROM (SELECT position, stream_id, stream_version, workspace_id,
               lag(stream_version, 1, 0) OVER stream AS version_before,
               lag(position, 1, 0::int8) OVER stream AS position_before,
               lag(workspace_id, 1, workspace_id) OVER stream AS workspace_before
          FROM log.events WHERE log_id = %(log_id)s AND position <= %(end)s
        WINDOW stream AS (PARTITION BY stream_id ORDER BY stream_version)) e
 WHERE position >= %(first)s
   AND (stream_version <> version_before + 1 OR position < position_before
        OR workspace_id <> workspace_before)
 ORDER BY position LIMIT 1
"""
# The first event whose key is gone without an erasure, or is that of somebody else.
_KEYS: Final[LiteralString] = """
SELECT e.position, k.data_key_id IS NULL
  FROM log.events e
  LEFT JOIN keyring.data_keys k ON k.data_key_id = e.data_key_id
 WHERE e.log_id = %(log_id)s AND e.position BETWEEN %(first)s AND %(end)s
   AND e.data_key_id IS NOT NULL
   AND (k.stream_id <> e.stream_id OR k.workspace_id <> e.workspace_id
        OR k.data_key_id IS NULL AND NOT EXISTS (
            SELECT FROM log.events x WHERE x.stream_id = e.stream_id AND x.log_id = e.log_id
               AND x.type = 'CustomerErased'))
 ORDER BY e.position LIMIT 1
"""


class KnownHead(Struct, frozen=True, kw_only=True):
    """A head, and who has kept it."""

    head: SignedHead
    source: str
    is_brought: bool = False
    """Whether the auditor brings it: then no restore excuses the log from agreeing with it."""


class Verified(Struct, frozen=True, kw_only=True):
    """What came out; `faults` in the order of their positions, none when all is well."""

    log_id: int
    generation: int
    first: int
    end: int
    chain: str
    root: str | None
    """The Merkle root at the end; None when the walk did not begin at the beginning."""
    start: str
    """What the walk began with, in words."""
    heads: int
    newest_head: SignedHead | None
    faults: list[Fault]
    notes: list[str] = field(default_factory=list[str])


class Verifier:
    """Verifies positions of one log; `blocking` is for the rows, `connection` for all else."""

    def __init__(
        self,
        connection: AsyncConnection[TupleRow],
        blocking: Connection[TupleRow],
        log_id: int,
        keys: PublicKeys,
        keyring: Keyring | None = None,
    ) -> None:
        self._connection = connection
        self._blocking = blocking
        self._log_id = log_id
        self._keys = keys
        self._keyring = keyring
        self._stopped = False

    async def verify(
        self,
        heads: Sequence[KnownHead],
        *,
        first: int = 1,
        end: int | None = None,
        begun: Callable[[int], None],
        tell: Callable[[int], None],
    ) -> Verified:
        """Verify from `first` to `end`, which is where the log ends now unless it is said.

        The heads were read before: the log can only have grown since. `begun` is given the end,
        `tell` positions that are done, from another thread. Raises PositionBeyondEnd.
        """
        log = await LogReader(self._connection, self._log_id).head()
        if first > log.position + 1 or (end or 0) > log.position:
            raise PositionBeyondEnd(max(first, end or 0), log.position)
        last = log.position if end is None else end
        begun(last)
        start = await self._start(first)
        forks = [Fork(*row) for row in await self._ask(_FORKS, [self._log_id])]
        judged = _judge(heads, forks, self._log_id, log.position, self._keys)
        walk = ChainWalk(start, [head for head in judged.binding if head.position <= last])
        rest = asyncio.create_task(self._check_beside(first, last))
        try:
            await self._walk(walk, first, last, tell)
            beside = await rest
        except BaseException:
            rest.cancel()
            await asyncio.gather(rest, return_exceptions=True)
            raise
        faults = [*walk.faults, *judged.faults, *beside]
        if not walk.faults and walk.position < last:
            what = f"is missing, and so is everything up to {last}"
            faults.append(Fault(position=walk.position + 1, what=what))
        faults += await self._check_sequences(walk, first)
        agreed, notes = walk.agreed, list(judged.notes)
        if walk.position < last:
            notes.append(f"digests and chain were verified up to {walk.position}, and not behind")
        if self._keyring is not None:
            opened = await KeyCheck(self._connection, self._log_id, self._keyring).run(first, last)
            faults += opened.faults
            notes += opened.notes
        return Verified(
            log_id=self._log_id,
            generation=log.generation,
            first=first,
            end=last,
            chain=walk.chain.hex(),
            root=walk.tree.root().hex() if first == 1 else None,
            start=_words_of_start(first, agreed),
            heads=len(agreed),
            newest_head=max(agreed, key=lambda head: head.position, default=None),
            faults=sorted(faults),
            notes=notes,
        )

    def stop(self) -> None:
        """End the walk soon."""
        self._stopped = True

    async def _walk(
        self, walk: ChainWalk, first: int, end: int, tell: Callable[[int], None]
    ) -> None:
        """Go over the rows in a thread: row by row, an event loop takes as long as the hashing."""

        def told(position: int) -> None:
            if self._stopped:
                raise _Stopped
            tell(position)

        def run() -> None:
            rows = copy_rows(self._blocking, self._log_id, first, end)
            # Closed here: whoever stops in the middle leaves the connection in a COPY otherwise.
            with self._blocking.transaction(), closing(rows):
                walk.run(rows, told)

        walking = asyncio.create_task(asyncio.to_thread(run))
        try:
            await asyncio.shield(walking)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.gather(walking, return_exceptions=True)
            raise

    async def _start(self, first: int) -> Start:
        if first == 1:
            return Start(position=0, chain=GENESIS, recorded_at=_BEFORE_ALL)
        rows = await self._ask(_START, [self._log_id, first - 1])
        if not rows:
            raise PositionBeyondEnd(first - 1, 0)
        chain, recorded_at = rows[0]
        return Start(position=first - 1, chain=bytes(chain), recorded_at=recorded_at)

    async def _check_beside(self, first: int, end: int) -> list[Fault]:
        """What the walk does not see: versions of streams, keys, and what is not in the log."""
        await self._connection.execute("SET work_mem = '64MB'")
        asked = {"log_id": self._log_id, "first": first, "end": end}
        faults = [
            Fault(position=row[0], what=_words_of_version(row))
            for row in await self._ask(_VERSIONS, asked)
        ]
        for position, is_missing in await self._ask(_KEYS, asked):
            what = (
                "its data key is gone, and no CustomerErased accounts for that"
                if is_missing
                else "its data key is that of another customer"
            )
            faults.append(Fault(position=position, what=what))
        return faults + await find_strays(self._connection, self._log_id, first, end)

    async def _check_sequences(self, walk: ChainWalk, first: int) -> list[Fault]:
        """Whether each workspace went on where it was in front of the walk."""
        faults: list[Fault] = []
        for workspace, (sequence, position) in walk.first_sequences.items():
            if sequence == 1:
                continue
            before = [workspace.decode(errors="replace"), self._log_id, sequence - 1, first]
            [(is_there,)] = await self._ask(_SEQUENCE, before)
            if not is_there:
                what = (
                    f"its workspace_sequence is {sequence}, and there is no {sequence - 1} before"
                )
                faults.append(Fault(position=position, what=what))
        return faults

    async def _ask(self, query: LiteralString, values: object) -> list[TupleRow]:
        cursor = await self._connection.execute(query, values)  # pyright: ignore[reportArgumentType] - lists and dicts of parameters
        return await cursor.fetchall()


class _Stopped(Exception):
    """Nobody wants to know any more."""


class _Judged(Struct, frozen=True, kw_only=True):
    binding: list[SignedHead]
    faults: list[Fault]
    notes: list[str]


def _judge(
    heads: Sequence[KnownHead],
    forks: Sequence[Fork],
    log_id: int,
    log_end: int,
    keys: PublicKeys,
) -> _Judged:
    """Which heads the log must agree with, and what is wrong with them by themselves."""
    binding: list[SignedHead] = []
    faults: list[Fault] = []
    lost: Counter[int] = Counter()
    cut: list[SignedHead] = []
    for known in {known.head: known for known in reversed(heads)}.values():
        head = known.head
        fault = (
            (fault_of_signature(head, keys) if keys else None)
            or fault_of_log(head, log_id)
            or fault_of_generation(head, forks)
        )
        until = binding_until(head.generation, forks)
        if fault:
            what = f"{head.words}, kept in {known.source}, {fault}"
            faults.append(Fault(position=head.position, what=what))
        elif until is not None and head.position > until and known.is_brought:
            what = (
                f"{head.words}, kept in {known.source}, is of a history that the log left behind "
                f"position {until}, when generation {_next(head.generation, forks).generation} "
                "began"
            )
            faults.append(Fault(position=until + 1, what=what))
        elif not is_binding(head, forks):
            lost[head.generation] += 1
        elif head.position > log_end:
            cut.append(head)
        else:
            binding.append(head)
    if cut:
        newest = max(cut, key=lambda head: head.position)
        what = f"is missing: the log ends at {log_end}, and {newest.words} was signed"
        faults.append(Fault(position=log_end + 1, what=what))
    notes = [
        f"{count} signed heads of generation {generation} are of the history that was "
        f"lost when generation {_next(generation, forks).generation} began behind position "
        f"{_next(generation, forks).forked_at}"
        for generation, count in sorted(lost.items())
    ]
    if not heads:
        notes.append(
            "no signed head was compared: a log that was rewritten as a whole would not be noticed"
        )
    elif not keys:
        notes.append(
            "no signature was checked: CUSTOMERS_AUDIT_KEYS is not set; `customers signing-keys "
            "public` prints what belongs there"
        )
    return _Judged(binding=binding, faults=faults, notes=notes)


def _next(generation: int, forks: Sequence[Fork]) -> Fork:
    later = [fork for fork in forks if fork.generation > generation]
    return min(later, key=lambda fork: fork.forked_at)


def _words_of_version(row: TupleRow) -> str:
    _, stream_id, version, version_before, position_before, _ = row
    if version == version_before:
        return f"is a second version {version} of customer {stream_id}"
    if version != version_before + 1:
        return f"is version {version} of customer {stream_id}, and {version - 1} is missing"
    if row[0] < position_before:
        return f"is version {version} of customer {stream_id}, and stands before {version_before}"
    return f"is version {version} of customer {stream_id}, which is of another workspace"


def _words_of_start(first: int, agreed: Sequence[SignedHead]) -> str:
    if first == 1:
        return "the beginning of the log"
    for head in agreed:
        if head.position == first - 1:
            return head.words
    return f"the chain that the log itself says is that of position {first - 1}"
