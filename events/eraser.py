"""What an erasure still has to do outside of its transaction, done by the relay's process.

For each erasure that is not finished, in this order: the read model forgets the customer; the
ledger names it; once its CustomerErased is in the JetStream stream, the customer's messages are
deleted. Each step is noted when it is done, so that whoever comes next goes on there, and each may
be done twice. Before the first pass the ledger is compared with the database; in the background
the streams are compared with the erasures: an older copy of a stream has messages again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, LiteralString

import nats.errors
import psycopg
import structlog
from msgspec import Struct, structs
from nats.aio.client import Client
from nats.js.errors import APIError
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events import jetstream
from events.envelope import CustomerId, Position, WorkspaceId
from events.erased_messages import ErasedCustomer, ErasedMessages, Lineage
from events.erasure import forget_in_rebuilds, forget_soon
from events.ledger import Entry, Ledger
from events.relay import RelayState
from runtime.clock import format_time
from runtime.logs import harmless_message
from runtime.waiting import is_set_within
from runtime.words import one_line

POLL_SECONDS: Final = 1.0
_SOON_SECONDS: Final = 0.05
AUDIT_SECONDS: Final = 30.0
_AT_ONCE: Final = 100

_UNFINISHED: Final[LiteralString] = """
SELECT x.position, e.chain, x.workspace_id, x.stream_id, x.data_key_id, x.positions, x.erased_at,
       x.forgotten_at IS NULL, x.ledger_at IS NULL, x.messages_deleted_at IS NULL
  FROM log.erasures x JOIN log.events e ON e.log_id = x.log_id AND e.position = x.position
 WHERE x.log_id = %b::int4 AND x.position > %b::int8
   AND (x.forgotten_at IS NULL OR x.ledger_at IS NULL OR x.messages_deleted_at IS NULL)
 ORDER BY x.position LIMIT %b::int4
"""
_IN_LEDGER: Final[LiteralString] = "SELECT log.note_in_ledger(%b::int4, %b::int8[])"
_DELETED: Final[LiteralString] = "SELECT log.note_messages_deleted(%b::int4, %b::int8, %b::int4)"
_FORGET_LEDGER: Final[LiteralString] = "SELECT log.forget_ledger(%b::int4)"
_GENERATIONS: Final[LiteralString] = (
    "SELECT generation, forked_at FROM log.generations WHERE log_id = %b::int4 ORDER BY generation"
)
# The positions whose messages were deleted since; some of that very moment may be known already.
_GONE: Final[LiteralString] = """
SELECT max(x.messages_deleted_at), array_agg(p.position)
  FROM log.erasures x CROSS JOIN LATERAL unnest(x.positions) AS p (position)
 WHERE x.log_id = %b::int4 AND x.messages_deleted_at >= %b::timestamptz
"""

log = structlog.get_logger()


class _Unfinished(Struct, frozen=True):
    customer: ErasedCustomer
    entry: Entry
    is_remembered: bool
    is_unnamed: bool
    has_messages: bool


class Eraser:
    """Finishes the erasures of one log; runs until its task is cancelled."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection[TupleRow]]],
        client: Callable[[], Client],
        ledger: Ledger,
        *,
        log_id: int,
        replicas: int,
        audit_seconds: float = AUDIT_SECONDS,
    ) -> None:
        self._connect = connect
        self._ledger = ledger
        self._messages = ErasedMessages(client, log_id)
        self._log_id = log_id
        self._replicas = replicas
        self._audit_seconds = audit_seconds
        self._audit_at = 0.0
        self._gone: set[int] = set()
        self._gone_to = datetime(1970, 1, 1, tzinfo=UTC)
        self._wake = asyncio.Event()
        self.compared = asyncio.Event()
        """Set once nobody whom the ledger names can be read."""
        self.trouble = ""
        """Why erasures wait, in words; empty when none does for longer than it takes."""

    def wake(self) -> None:
        """Something was appended, or NATS came back."""
        self._wake.set()

    def judge(self, relay: RelayState) -> RelayState:
        """What the process says of itself, given what its relay does."""
        if not self.compared.is_set():
            words = self.trouble or "compares the ledger of erasures with the database"
            condition = "no connection" if self.trouble else "starting"
            return structs.replace(relay, condition=condition, words=words)
        if self.trouble and relay.condition in {"publishing", "standing by"}:
            return structs.replace(relay, condition="erasures wait", words=self.trouble)
        return relay

    async def run(self) -> None:
        """Finish erasures for ever, through every loss of the database or of NATS."""
        while True:
            try:
                async with await self._connect() as connection:
                    await self._serve(connection)
            except psycopg.OperationalError as error:
                self._note(f"the database is away: {type(error).__name__}")
            except (nats.errors.Error, APIError, TimeoutError, OSError) as error:
                self._note(one_line(error) or type(error).__name__)
            except Exception as error:
                # The cause may go away by itself, as a migration that is still to come does.
                if not self.trouble:
                    log.exception("eraser.stopped")
                self._note(f"{type(error).__name__}: {harmless_message(error)}")
            self._wake.clear()
            await is_set_within(self._wake, POLL_SECONDS)

    async def _serve(self, connection: AsyncConnection[TupleRow]) -> None:
        self._audit_at = 0.0
        pause = _SOON_SECONDS
        while True:
            self._wake.clear()
            is_waiting = await self._pass(connection)
            if await is_set_within(self._wake, pause if is_waiting else POLL_SECONDS):
                # The relay publishes meanwhile what was appended; and many come at once.
                pause = _SOON_SECONDS
                await asyncio.sleep(_SOON_SECONDS)
            else:
                pause = min(2 * pause, POLL_SECONDS)

    async def finish_once(self) -> None:
        """Do now what can be done. Raises what is in the way."""
        async with await self._connect() as connection:
            await self._pass(connection)

    async def _pass(self, connection: AsyncConnection[TupleRow]) -> bool:
        """Do what can be done; whether something of it has to wait."""
        now = asyncio.get_running_loop().time()
        is_due = now >= self._audit_at
        if is_due:
            await self._compare_ledger(connection)
        is_waiting = await self._finish_all(connection)
        if is_due:
            await self._audit(connection)
            self._audit_at = now + self._audit_seconds
        self._note("")
        return is_waiting

    async def _compare_ledger(self, connection: AsyncConnection[TupleRow]) -> None:
        if not self.compared.is_set():
            # The file first: it can be read while NATS is away.
            await self._ledger.compare_file(connection)
            await self._ledger.complete_file(connection)
        found = await self._ledger.stream.look()
        if found is None or found[1] < await self._ledger.place(connection, found[0]):
            # Before it is made, so that a crash in between loses nothing.
            await connection.execute(_FORGET_LEDGER, [self._log_id])
        if found is None:
            await self._ledger.stream.make(self._replicas)
            log.info("eraser.ledger_made", stream=jetstream.ledger_stream(self._log_id))
        await self._ledger.compare_stream(connection)
        self.compared.set()

    async def _finish_all(self, connection: AsyncConnection[TupleRow]) -> bool:
        behind, is_waiting = 0, False
        while True:
            asked = [self._log_id, behind, _AT_ONCE]
            rows = await (await connection.execute(_UNFINISHED, asked)).fetchall()
            if not rows:
                return is_waiting
            some = [self._unfinished(row) for row in rows]
            behind = some[-1].customer.position
            is_waiting = not await self._finish(connection, some) or is_waiting

    async def _finish(self, connection: AsyncConnection[TupleRow], some: list[_Unfinished]) -> bool:
        """Do what can be done for these; whether that was all there is."""
        is_done = True
        for one in some:
            if one.is_remembered:
                customer = one.customer
                is_done &= await forget_soon(
                    connection, customer.workspace_id, customer.customer_id
                )
        unnamed = [one for one in some if one.is_unnamed]
        if unnamed:
            entries = [one.entry for one in unnamed]
            if self._ledger.file is not None:
                await self._ledger.file.append(entries)
            await self._ledger.stream.append(entries)
            positions = [one.customer.position for one in unnamed]
            await connection.execute(_IN_LEDGER, [self._log_id, positions])
        lineages = await self._find_lineages(connection)
        for one in some:
            customer = one.customer
            if not one.has_messages:
                continue
            if await self._messages.holds(lineages[-1].generation, customer):
                deleted = await self._messages.delete(lineages, customer)
                await connection.execute(_DELETED, [self._log_id, customer.position, deleted])
            else:
                is_done = False
        return is_done

    async def _find_lineages(self, connection: AsyncConnection[TupleRow]) -> list[Lineage]:
        """All generations, the current one last; an older one is the log's up to the next fork."""
        rows = await (await connection.execute(_GENERATIONS, [self._log_id])).fetchall()
        forks = [(int(generation), int(forked_at)) for generation, forked_at in rows]
        generations = [1, *(generation for generation, _ in forks)]
        return [
            Lineage(
                generation=generation,
                shared=min((fork for newer, fork in forks if newer > generation), default=None),
            )
            for generation in generations
        ]

    async def _audit(self, connection: AsyncConnection[TupleRow]) -> None:
        """Delete once more what is in a stream again, or in an edition that is being built."""
        await forget_in_rebuilds(connection)
        erased = await self._find_gone(connection)
        for lineage in await self._find_lineages(connection):
            readable = await self._messages.find_readable(lineage, erased)
            if readable:
                log.warning(
                    "eraser.messages_were_back", generation=lineage.generation, count=len(readable)
                )
                await self._messages.delete_again(lineage.generation, readable)

    async def _find_gone(self, connection: AsyncConnection[TupleRow]) -> set[int]:
        row = await (await connection.execute(_GONE, [self._log_id, self._gone_to])).fetchone()
        if row is not None and row[0] is not None:
            self._gone_to = row[0]
            self._gone.update(row[1])
        return self._gone

    def _unfinished(self, row: TupleRow) -> _Unfinished:
        (position, chain, workspace_id, stream_id, data_key_id, positions, erased_at, *steps) = row
        customer = ErasedCustomer(
            position=Position(position),
            chain=bytes(chain),
            workspace_id=WorkspaceId(workspace_id),
            customer_id=CustomerId(stream_id),
            positions=tuple(positions),
        )
        entry = Entry(
            log_id=self._log_id,
            workspace_id=customer.workspace_id,
            customer_id=customer.customer_id,
            data_key_id=data_key_id,
            erased_at=format_time(erased_at),
        )
        return _Unfinished(customer, entry, *steps)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("eraser.waits", why=trouble)
        self.trouble = trouble
