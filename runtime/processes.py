"""The composition root: every process is built here, from settings and nothing else."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Literal, TypeAlias

import msgspec
import nats.errors
from litestar import Litestar
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from command_side.app import ROUTES as COMMAND_ROUTES
from command_side.app import CommandSide, command_side
from command_side.openapi import DESCRIPTION as COMMANDS
from events import generations, jetstream, published_schemas
from events.asyncapi import OverHttp, describe_events
from events.envelope import Position
from events.eraser import Eraser
from events.erasure import Erasures
from events.erasure_receipt import Retention
from events.errors import NoFork
from events.generations import Fork
from events.keys import Keyring
from events.ledger import Ledger, LedgerStream
from events.ledger_guard import LedgerGuard
from events.log import LogReader, PostgresLog
from events.relay import Relay
from events.rendering import Renderer, payload_max
from events.token import Tokens
from projections.runners import ProjectorRunners
from query_side.app import ROUTES as QUERY_ROUTES
from query_side.app import QuerySide, query_side
from query_side.arrivals import Arrivals
from query_side.feed_requests import LAST_EVENT_ID
from query_side.feed_routes import EVENTS, STREAM
from query_side.feed_stream import LOST_EVENT
from query_side.openapi import DESCRIPTION as QUERIES
from query_side.openapi_feed import LOST_EXAMPLE
from runtime import signed_heads
from runtime.api_keys import Principal, lookup
from runtime.failure import Failure
from runtime.key_ping import key_change_subject
from runtime.lifecycle import (
    MASTER_KEYS_STATE,
    Connecting,
    registered,
    run_until_told,
    settle,
    stop_signals,
)
from runtime.nats import Heard, NatsLine
from runtime.nats_access import connected_once, words_of
from runtime.postgres import Pool, Role, ask, connect, make_pool
from runtime.published_heads import log_head_part
from runtime.readable import readable_json
from runtime.readiness import erasures_check, readiness, writes_check
from runtime.sealing import Sealer
from runtime.settings import MasterKeys, Settings, read_master_keys
from runtime.signed_heads import head_keeper
from runtime.web.authentication import KEY_HEADER, Authentication
from runtime.web.event_docs import ROUTES as EVENT_DOC_ROUTES
from runtime.web.event_docs import EventDocuments
from runtime.web.fixed_document import A_DAY, FixedDocument
from runtime.web.frame import Frame, Part, document_of
from runtime.web.openapi.event_docs import describe_event_docs
from runtime.web.rate_limit import RateLimit
from runtime.web.server import serve

LOOK_UP_CONNECTIONS: Final = 2
"""What a write looks up goes over these; appends go one after another, over one of their own."""

_OVER_HTTP: Final = OverHttp(
    pages=EVENTS,
    live=STREAM,
    key_header=KEY_HEADER,
    last_id_header=LAST_EVENT_ID,
    lost_event=LOST_EVENT,
    lost_example=LOST_EXAMPLE,
)

Side: TypeAlias = Literal["command", "query", "both"]


async def run_api(settings: Settings, side: Side, announce: Callable[[str], None]) -> None:
    """Serve HTTP until SIGTERM or SIGINT; then finish what is under way."""
    with stop_signals() as stop:
        async with api_app(settings, side, stop) as app:
            settle()
            await serve(app, settings.host, settings.port, announce=announce, stop=stop)


@asynccontextmanager
async def api_app(
    settings: Settings, side: Side = "both", stop: asyncio.Event | None = None
) -> AsyncGenerator[Litestar]:
    """The app of an API process until the block ends; from `stop` on nobody waits for events."""
    master_keys = read_master_keys(settings)
    keyring, sealer = Keyring(master_keys), Sealer(master_keys)
    tokens = Tokens(sealer, settings.log_id)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            make_pool(settings, Role.API, "customers api", size=settings.pool_size)
        )
        authentication = Authentication(lambda key_hash: _find_key(pool, key_hash))
        keys_ping = key_change_subject(settings.log_id)
        hears: dict[str, Heard] = {keys_ping: lambda _: authentication.invalidate()}
        line = NatsLine(settings, "customers api", hears=hears)
        parts = [_event_docs(settings.public_url), log_head_part(settings, pool)]
        checks = readiness(pool, line)
        arrivals: Arrivals | None = None
        if side != "command":
            queries = await stack.enter_async_context(
                query_side(
                    pool,
                    settings.log_id,
                    tokens,
                    sealer,
                    renderer=_renderer(settings, keyring),
                    authentication=authentication,
                    wait_seconds=settings.read_wait,
                    can_hear_pings=lambda: line.connected,
                    stop=stop or asyncio.Event(),
                )
            )
            parts.append(queries.part())
            arrivals = queries.arrivals
            hears |= _pings_of_reads(queries, settings.log_id)
        if side != "query":

            async def ping_appended(position: Position) -> None:
                if arrivals is not None:
                    arrivals.ring()
                await line.ping(jetstream.appended_ping(settings.log_id), b"%d" % position)

            commands = await stack.enter_async_context(
                _command_side(settings, keyring, tokens, ping_appended)
            )
            parts.append(commands.part())
            checks.append(writes_check(commands.appender.silent_seconds, settings.write_wait))
        await stack.enter_async_context(line.kept_up())
        guard = await stack.enter_async_context(_guard(settings, pool, line))
        checks.append(erasures_check(lambda: guard.trouble))
        state: dict[str, object] = {"side": side, MASTER_KEYS_STATE: list(master_keys.by_id)}
        beats = registered(pool.connection, "api", lambda: state | guard.state())
        await stack.enter_async_context(beats)
        limit = RateLimit(settings.rate_limit) if settings.rate_limit else None
        frame = Frame(authentication, checks, parts, limit)
        yield Litestar(plugins=[frame], openapi_config=None)


def _pings_of_reads(queries: QuerySide, log_id: int) -> dict[str, Heard]:
    """What the query side does when other processes ring."""

    def projected(position: bytes) -> None:
        queries.freshness.projected(Position(int(position)))

    return {
        jetstream.projected_ping(log_id): projected,
        jetstream.appended_ping(log_id): lambda _: queries.arrivals.ring(),
    }


@asynccontextmanager
async def _command_side(
    settings: Settings,
    keyring: Keyring,
    tokens: Tokens,
    on_appended: Callable[[Position], Awaitable[None]],
) -> AsyncGenerator[CommandSide]:
    async with (
        _event_log(settings) as (event_log, erasures),
        command_side(
            event_log,
            erasures,
            keyring,
            tokens,
            retention=_retention(settings),
            on_appended=on_appended,
            wait_seconds=settings.write_wait,
            receipt_days=settings.receipt_days,
            payload_max=payload_max(settings.nats_max_payload, settings.public_url),
        ) as commands,
    ):
        yield commands


@asynccontextmanager
async def _event_log(settings: Settings) -> AsyncGenerator[tuple[PostgresLog, Erasures]]:
    """The log on connections of its own: writes never queue behind slow searches.

    An erasure takes its turn with the appends, which hold the same lock.
    """
    async with (
        make_pool(settings, Role.API, "customers api log", size=LOOK_UP_CONNECTIONS) as pool,
        make_pool(settings, Role.API, "customers api append", size=1) as append_pool,
    ):
        log = PostgresLog(pool, settings.log_id, append_pool=append_pool)
        yield log, Erasures(pool, settings.log_id, append_pool=append_pool)


@asynccontextmanager
async def _guard(settings: Settings, pool: Pool, line: NatsLine) -> AsyncGenerator[LedgerGuard]:
    """Nobody whom the ledger names can be read, as far as it can be, before the block begins."""
    guard = LedgerGuard(pool, _ledger(settings, line), is_away=lambda: bool(line.trouble))
    async with guard.kept():
        yield guard


def _ledger(settings: Settings, line: NatsLine) -> Ledger:
    stream = LedgerStream(line.client, settings.log_id)
    return Ledger(settings.log_id, stream, settings.erasure_ledger)


def _retention(settings: Settings) -> Retention:
    return Retention(scrub_days=settings.scrub_days, backup_days=settings.backup_days)


def api_document() -> bytes:
    """The OpenAPI document of an API with both sides, as readable JSON; no server is needed."""
    parts = [
        Part(routes=COMMAND_ROUTES, description=COMMANDS),
        Part(routes=QUERY_ROUTES, description=QUERIES),
        _event_docs(Settings().public_url),
        log_head_part(Settings(), None),
    ]
    return readable_json(document_of(parts))


def events_document(public_url: str) -> bytes:
    """The AsyncAPI document of a service that is reached there, as readable JSON."""
    return readable_json(describe_events(public_url, _OVER_HTTP))


def _event_docs(public_url: str) -> Part:
    """What every API process says of the events, whichever side it serves."""
    kept = {"media_type": published_schemas.CONTENT_TYPE, "cache_control": A_DAY}
    documents = EventDocuments(
        asyncapi=FixedDocument(msgspec.json.encode(describe_events(public_url, _OVER_HTTP))),
        schema_index=FixedDocument(published_schemas.served_index(public_url)),
        schemas={
            name: FixedDocument(body, **kept)
            for name, body in published_schemas.served_schemas(public_url).items()
        },
    )
    return Part(
        routes=EVENT_DOC_ROUTES,
        dependencies={"event_documents": documents},
        description=describe_event_docs(
            published_schemas.PUBLISHED, published_schemas.CONTENT_TYPE
        ),
    )


def _renderer(settings: Settings, keyring: Keyring) -> Renderer:
    return Renderer(keyring=keyring, log_id=settings.log_id, public_url=settings.public_url)


async def run_relay(settings: Settings) -> None:
    """Copy the log into JetStream until SIGTERM or SIGINT."""

    def appended(position: bytes) -> None:
        relay.appended(Position(int(position)))
        eraser.wake()

    def wake() -> None:
        relay.wake()
        eraser.wake()

    hears = {jetstream.appended_ping(settings.log_id): appended}
    line = NatsLine(settings, "customers relay", hears=hears, on_connected=wake)
    master_keys = read_master_keys(settings)
    relay = Relay(
        lambda: connect(settings, Role.RELAY, "customers relay"),
        line.client,
        _renderer(settings, Keyring(master_keys)),
        replicas=settings.stream_replicas,
        message_max=settings.nats_max_payload,
    )

    eraser = Eraser(
        lambda: connect(settings, Role.RELAY, "customers relay erasures"),
        line.client,
        _ledger(settings, line),
        log_id=settings.log_id,
        replicas=settings.stream_replicas,
    )

    keeper = head_keeper(settings, line)

    def state() -> dict[str, object]:
        judged = eraser.judge(relay.state)
        return _state_of(keeper.judge(judged) if keeper else judged, master_keys)

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(eraser.run())
            if keeper is not None:
                tasks.create_task(keeper.run())
            # Nobody who was erased is published, of a database that was restored.
            await eraser.compared.wait()
            tasks.create_task(relay.run())

    beats = registered(_connections(settings, Role.RELAY, "customers relay beat"), "relay", state)
    async with line.kept_up(), beats:
        settle()
        await run_until_told(work())


async def begin_generation(settings: Settings, reason: str) -> Fork:
    """Let the log go on in a new generation: where history parted.

    Raises Failure when it did not; psycopg.Error when the database is away.
    """
    name = "customers relay new-generation"
    if not settings.nats_url:
        raise Failure(
            "CUSTOMERS_NATS_URL is not set, and the streams are in NATS.",
            "CUSTOMERS_NATS_URL=nats://user:password@host:4222",
        )
    async with (
        await connect(settings, Role.RELAY, name) as connection,
        AsyncExitStack() as stack,
    ):
        try:
            client = await stack.enter_async_context(connected_once(settings, name))
        except (OSError, nats.errors.Error) as error:
            words = words_of(error, settings)
            raise Failure(f"NATS cannot be used: {words}", "customers doctor") from error
        reader = LogReader(connection, settings.log_id)
        try:
            try:
                fork = await generations.find_fork(reader, client.jetstream(), settings.log_id)
            except NoFork:
                # JetStream may have been restored too; signed heads may have not.
                fork = await signed_heads.find_fork(settings, connection, client)
                if fork is None:
                    raise
            await generations.begin_generation(connection, settings.log_id, fork, reason)
        except NoFork as error:
            raise Failure(str(error), "customers status") from error
    return fork


async def run_projector(settings: Settings) -> None:
    """Keep the read model up to date until SIGTERM or SIGINT."""

    def appended(position: bytes) -> None:
        runners.appended(Position(int(position)))

    async def ring(position: Position) -> None:
        await line.ping(jetstream.projected_ping(settings.log_id), b"%d" % position)

    line = NatsLine(
        settings, "customers projector", hears={jetstream.appended_ping(settings.log_id): appended}
    )
    master_keys = read_master_keys(settings)
    runners = ProjectorRunners(
        lambda: connect(settings, Role.PROJECTOR, "customers projector"),
        line.client,
        Keyring(master_keys),
        log_id=settings.log_id,
        ring=ring,
    )

    def state() -> dict[str, object]:
        return _state_of(runners.state, master_keys)

    connecting = _connections(settings, Role.PROJECTOR, "customers projector beat")
    async with line.kept_up(), registered(connecting, "projector", state):
        settle()
        await run_until_told(runners.run())


def _state_of(state: object, master_keys: MasterKeys) -> dict[str, object]:
    return {**msgspec.to_builtins(state), MASTER_KEYS_STATE: list(master_keys.by_id)}


def _connections(settings: Settings, role: Role, name: str) -> Connecting:
    @asynccontextmanager
    async def lend() -> AsyncGenerator[AsyncConnection[TupleRow]]:
        async with await connect(settings, role, name) as connection:
            yield connection

    return lend


async def _find_key(pool: Pool, key_hash: bytes) -> Principal | None:
    return await ask(pool, lambda connection: lookup(connection, key_hash))
