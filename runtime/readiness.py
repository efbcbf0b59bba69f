"""What an API process depends on, asked one by one for `/health/ready`.

Anybody may ask, so no answer tells how much is written: numbers are in `customers status`.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from runtime.lifecycle import SILENT_SECONDS, TROUBLED
from runtime.nats import NatsLine
from runtime.postgres import Pool, ask
from runtime.web.health import Check, Probe

# What the newest process of a kind says of itself.
_CONDITION: Final = "SELECT state ->> 'condition', silent_seconds FROM control.newest_process(%s)"

_PARKED: Final = "SELECT FROM projections.checkpoints WHERE log_id = %s AND live AND parked > 0"


def readiness(pool: Pool, line: NatsLine, log_id: int) -> list[Check]:
    """Only the database is vital: without NATS, relay or projector the API still answers."""

    async def database() -> Probe:
        await ask(pool, lambda connection: connection.execute("SELECT 1"))
        return Probe(ok=True, detail="answers")

    async def nats() -> Probe:
        detail = "connected" if line.connected else "away: writes and reads go on, publishing waits"
        return Probe(ok=line.connected, detail=detail)

    async def process(kind: str) -> Probe:
        async def condition(connection: AsyncConnection[TupleRow]) -> TupleRow | None:
            cursor = await connection.execute(_CONDITION, [kind])
            return await cursor.fetchone()

        return _judge(kind, await ask(pool, condition))

    async def parked() -> Probe:
        async def any_parked(connection: AsyncConnection[TupleRow]) -> TupleRow | None:
            cursor = await connection.execute(_PARKED, [log_id])
            return await cursor.fetchone()

        if await ask(pool, any_parked) is None:
            return Probe(ok=True, detail="none")
        return Probe(ok=False, detail="some customers: `customers projections failures` says why")

    return [
        Check(name="database", probe=database, vital=True),
        Check(name="nats", probe=nats),
        Check(name="relay", probe=lambda: process("relay")),
        Check(name="projector", probe=lambda: process("projector")),
        Check(name="parked", probe=parked),
    ]


def stopping_check(stop: asyncio.Event) -> Check:
    """Whether the process was told to stop: new connections belong elsewhere then."""

    async def probe() -> Probe:
        is_stopping = stop.is_set()
        return Probe(ok=not is_stopping, detail="stopping" if is_stopping else "serves")

    return Check(name="process", probe=probe, vital=True)


def writes_check(silent_seconds: Callable[[], float], limit: float) -> Check:
    """Whether the log answers what is appended; past `limit`, writes are answered with 503."""

    async def probe() -> Probe:
        if silent_seconds() < limit:
            return Probe(ok=True, detail="answered")
        return Probe(ok=False, detail="the log does not answer: writes are refused, reads go on")

    return Check(name="writes", probe=probe)


def erasures_check(trouble: Callable[[], str]) -> Check:
    """Whether nobody who was erased can be read, as far as the ledger of erasures tells."""

    async def probe() -> Probe:
        why = trouble()
        if not why:
            return Probe(ok=True, detail="compared with the ledger")
        return Probe(ok=False, detail=f"not compared with the ledger, {why}")

    return Check(name="erasures", probe=probe)


def _judge(kind: str, row: TupleRow | None) -> Probe:
    if row is None or row[1] > SILENT_SECONDS:
        return Probe(ok=False, detail=f"none is running: start one with `customers {kind}`")
    condition = str(row[0])
    if condition in TROUBLED:
        return Probe(ok=False, detail=f"{condition}: `customers status` says why")
    return Probe(ok=True, detail=condition)
