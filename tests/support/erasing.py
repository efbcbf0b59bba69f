"""What finishes erasures, in this process; and erasures to finish."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace
from nats.aio.client import Client
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from events.envelope import CustomerId
from events.eraser import AUDIT_SECONDS, Eraser
from events.erasure import Erasure, erase_customer, read_erasure
from events.jetstream import stream_name
from events.ledger import Ledger, LedgerStream
from events.log import PostgresLog
from runtime.postgres import Role, connect
from runtime.settings import Settings
from runtime.tasks import end
from tests.support.builders import ACME, Writer
from tests.support.signals import LIMIT_SECONDS, until


def a_ledger(settings: Settings, client: Client | Callable[[], Client], path: str = "") -> Ledger:
    """The ledger of this test's log."""
    ask = (lambda: client) if isinstance(client, Client) else client
    return Ledger(settings.log_id, LedgerStream(ask, settings.log_id), path)


def an_eraser(
    settings: Settings,
    client: Client | Callable[[], Client],
    *,
    connect_: Callable[[], Awaitable[AsyncConnection[TupleRow]]] | None = None,
    file: Path | None = None,
    audit_seconds: float = AUDIT_SECONDS,
) -> Eraser:
    """What the relay's process finishes erasures with."""
    return Eraser(
        connect_ or (lambda: connect(settings, Role.RELAY, "test eraser")),
        (lambda: client) if isinstance(client, Client) else client,
        a_ledger(settings, client, "" if file is None else str(file)),
        log_id=settings.log_id,
        replicas=1,
        audit_seconds=audit_seconds,
    )


@asynccontextmanager
async def finishing(
    settings: Settings,
    client: Client | Callable[[], Client],
    *,
    file: Path | None = None,
    audit_seconds: float = AUDIT_SECONDS,
) -> AsyncGenerator[Eraser]:
    """The same, running while the block does."""
    eraser = an_eraser(settings, client, file=file, audit_seconds=audit_seconds)
    running = asyncio.create_task(eraser.run())
    try:
        yield eraser
    finally:
        await end(running)
        with suppress(asyncio.CancelledError):
            running.result()


async def a_customer(postgres_log: PostgresLog, writer: Writer, versions: int = 1) -> CustomerId:
    """A customer of acme with so many events."""
    customer = writer.a_customer()
    for version in range(1, versions + 1):
        await postgres_log.append([writer.group(writer.event(customer, version))])
    return customer


async def erase(settings: Settings, customer: CustomerId) -> Erasure:
    """Erase a customer of acme in the database, and nowhere else."""
    async with await connect(settings, Role.RELAY, "test erase") as connection:
        erasure = await erase_customer(connection, settings.log_id, ACME, customer)
    assert erasure is not None
    return erasure


async def look(settings: Settings, customer: CustomerId) -> Erasure:
    """How far the erasure of a customer of acme is."""
    async with await connect(settings, Role.RELAY, "test look") as connection:
        erasure = await read_erasure(connection, ACME, customer)
    assert erasure is not None
    return erasure


async def until_finished(settings: Settings, customer: CustomerId) -> Erasure:
    """The erasure once all of its steps are done."""

    async def is_finished() -> bool:
        erasure = await look(settings, customer)
        return None not in {erasure.forgotten_at, erasure.ledger_at, erasure.messages_deleted_at}

    await until(is_finished)
    return await look(settings, customer)


async def holes(settings: Settings, client: Client, generation: int = 1) -> list[int]:
    """The sequences at which a stream has no message any more."""
    name = stream_name(settings.log_id, generation)
    subject = f"$JS.API.STREAM.INFO.{name}"
    answer = await client.request(subject, b'{"deleted_details":true}', timeout=LIMIT_SECONDS)
    state = msgspec.json.decode(answer.data)["state"]
    return [*range(1, state["first_seq"]), *state.get("deleted", [])]


@asynccontextmanager
async def a_backup(settings: Settings, name: str = "one") -> AsyncGenerator[Settings]:
    """The service on a copy of its database as it is now; nobody may be connected to it."""
    name = f"backup_{settings.log_id}_{name}"
    source = str(conninfo_to_dict(settings.database_url)["dbname"])
    place = make_conninfo(settings.database_url, dbname="postgres")
    async with await AsyncConnection.connect(place, autocommit=True) as connection:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        await connection.execute(copy.format(sql.Identifier(name), sql.Identifier(source)))
        yield replace(settings, database_url=make_conninfo(settings.database_url, dbname=name))
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        await connection.execute(drop.format(sql.Identifier(name)))
