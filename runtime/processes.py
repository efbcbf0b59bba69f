"""The composition root: every process is built here, from settings and nothing else."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, Literal, TypeAlias

import msgspec
from litestar import Litestar
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from command_side.app import ROUTES as COMMAND_ROUTES
from command_side.app import command_side
from command_side.openapi import DESCRIPTION as COMMANDS
from events import jetstream
from events.envelope import Position
from events.keys import Keyring
from events.log import PostgresLog
from events.relay import Relay
from events.token import Tokens
from projections.runner import ProjectorRunner
from query_side.app import query_side
from query_side.openapi import DESCRIPTION as QUERIES
from query_side.routes import ROUTES as QUERY_ROUTES
from runtime.api_keys import Principal, lookup
from runtime.key_ping import key_change_subject
from runtime.lifecycle import Connecting, registered, stop_signals
from runtime.nats import Heard, NatsLine
from runtime.postgres import Pool, Role, ask, connect, make_pool
from runtime.readiness import readiness, writes_check
from runtime.sealing import Sealer
from runtime.settings import Settings, read_master_keys
from runtime.web.authentication import Authentication
from runtime.web.frame import Frame, Part, document_of
from runtime.web.rate_limit import RateLimit
from runtime.web.server import serve

LOOK_UP_CONNECTIONS: Final = 2
"""What a write looks up goes over these; appends go one after another, over one of their own."""

Side: TypeAlias = Literal["command", "query", "both"]


async def run_api(settings: Settings, side: Side, announce: Callable[[str], None]) -> None:
    """Serve HTTP until SIGTERM or SIGINT; then finish what is under way."""
    with stop_signals() as stop:
        async with api_app(settings, side) as app:
            await serve(app, settings.host, settings.port, announce=announce, stop=stop)


@asynccontextmanager
async def api_app(settings: Settings, side: Side = "both") -> AsyncGenerator[Litestar]:
    """The app of an API process with everything it needs, until the block ends."""
    master_keys = read_master_keys(settings)
    keyring, sealer = Keyring(master_keys), Sealer(master_keys)
    tokens = Tokens(sealer, settings.log_id)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            make_pool(settings, Role.API, "customers api", size=settings.pool_size)
        )
        authentication = Authentication(lambda key_hash: _find_key(pool, key_hash))

        def forget_keys(_: bytes) -> None:
            authentication.invalidate()

        hears: dict[str, Heard] = {key_change_subject(settings.log_id): forget_keys}
        line = NatsLine(settings, "customers api", hears=hears)
        parts: list[Part] = []
        checks = readiness(pool, line)
        if side != "command":
            queries = await stack.enter_async_context(
                query_side(
                    pool,
                    settings.log_id,
                    tokens,
                    sealer,
                    wait_seconds=settings.read_wait,
                    can_hear_pings=lambda: line.connected,
                )
            )
            parts.append(queries.part())

            def projected(position: bytes) -> None:
                queries.freshness.projected(Position(int(position)))

            hears[jetstream.projected_ping(settings.log_id)] = projected
        if side != "query":

            async def ping_appended(position: Position) -> None:
                await line.ping(jetstream.appended_ping(settings.log_id), b"%d" % position)

            commands = await stack.enter_async_context(
                command_side(
                    await stack.enter_async_context(_event_log(settings)),
                    keyring,
                    tokens,
                    on_appended=ping_appended,
                    wait_seconds=settings.write_wait,
                    receipt_days=settings.receipt_days,
                )
            )
            parts.append(commands.part())
            checks.append(writes_check(commands.appender.silent_seconds, settings.write_wait))
        await stack.enter_async_context(line.kept_up())
        await stack.enter_async_context(registered(pool.connection, "api", lambda: {"side": side}))
        limit = RateLimit(settings.rate_limit) if settings.rate_limit else None
        frame = Frame(authentication, checks, parts, limit)
        yield Litestar(plugins=[frame], openapi_config=None)


@asynccontextmanager
async def _event_log(settings: Settings) -> AsyncGenerator[PostgresLog]:
    """The log on connections of its own: writes never queue behind slow searches."""
    async with (
        make_pool(settings, Role.API, "customers api log", size=LOOK_UP_CONNECTIONS) as pool,
        make_pool(settings, Role.API, "customers api append", size=1) as append_pool,
    ):
        yield PostgresLog(pool, settings.log_id, append_pool=append_pool)


def api_document() -> bytes:
    """The OpenAPI document of an API with both sides, as readable JSON; no server is needed."""
    parts = [
        Part(routes=COMMAND_ROUTES, description=COMMANDS),
        Part(routes=QUERY_ROUTES, description=QUERIES),
    ]
    return msgspec.json.format(msgspec.json.encode(document_of(parts)), indent=2) + b"\n"


async def run_relay(settings: Settings) -> None:
    """Copy the log into JetStream until SIGTERM or SIGINT."""

    def wake(_: bytes = b"") -> None:
        relay.wake()

    hears = {jetstream.appended_ping(settings.log_id): wake}
    line = NatsLine(settings, "customers relay", hears=hears, on_connected=wake)
    relay = Relay(
        lambda: connect(settings, Role.RELAY, "customers relay"),
        line.client,
        Keyring(read_master_keys(settings)),
        log_id=settings.log_id,
        replicas=settings.stream_replicas,
        public_url=settings.public_url,
    )

    def state() -> dict[str, object]:
        return msgspec.to_builtins(relay.state)

    beats = registered(_connections(settings, Role.RELAY, "customers relay beat"), "relay", state)
    async with line.kept_up(), beats:
        await _run_until_told(relay.run())


async def run_projector(settings: Settings) -> None:
    """Keep the read model up to date until SIGTERM or SIGINT."""

    def appended(position: bytes) -> None:
        runner.appended(Position(int(position)))

    async def ring(position: Position) -> None:
        await line.ping(jetstream.projected_ping(settings.log_id), b"%d" % position)

    line = NatsLine(
        settings, "customers projector", hears={jetstream.appended_ping(settings.log_id): appended}
    )
    runner = ProjectorRunner(
        lambda: connect(settings, Role.PROJECTOR, "customers projector"),
        line.client,
        Keyring(read_master_keys(settings)),
        log_id=settings.log_id,
        ring=ring,
    )

    def state() -> dict[str, object]:
        return msgspec.to_builtins(runner.state)

    connecting = _connections(settings, Role.PROJECTOR, "customers projector beat")
    async with line.kept_up(), registered(connecting, "projector", state):
        await _run_until_told(runner.run())


def _connections(settings: Settings, role: Role, name: str) -> Connecting:
    @asynccontextmanager
    async def lend() -> AsyncGenerator[AsyncConnection[TupleRow]]:
        async with await connect(settings, role, name) as connection:
            yield connection

    return lend


async def _run_until_told(work: Coroutine[object, object, None]) -> None:
    """Run until SIGTERM or SIGINT; an error of the work ends the process."""
    with stop_signals() as stop:
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        while not working.done():
            # Again and again: a library below may swallow one that comes at a bad moment.
            working.cancel()
            await asyncio.wait({working}, timeout=0.5)
        with suppress(asyncio.CancelledError):
            await working


async def _find_key(pool: Pool, key_hash: bytes) -> Principal | None:
    return await ask(pool, lambda connection: lookup(connection, key_hash))
