"""The composition root: every process is built here, from settings and nothing else."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Litestar
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from command_side.app import CommandSide, command_side
from command_side.append_watch import AppendWatch
from events import jetstream
from events.envelope import Position
from events.eraser import Eraser
from events.erasure import Erasures
from events.erasure_receipt import Retention
from events.keys import Keyring
from events.ledger import Ledger, LedgerStream
from events.ledger_guard import LedgerGuard
from events.log import PostgresLog
from events.publish_watch import PublishWatch
from events.relay import Relay, RelayState
from events.rendering import Renderer, payload_max
from events.token import Tokens
from projections.projection_watch import ProjectionWatch
from projections.runners import ProjectorRunners
from query_side.app import QuerySide, query_side
from query_side.arrivals import Arrivals
from runtime.api_keys import Principal, lookup
from runtime.awaited_migrations import await_migrations
from runtime.documents import event_docs
from runtime.key_ping import key_change_subject
from runtime.lifecycle import (
    MASTER_KEYS_STATE,
    registered,
    run_until_told,
    settle,
    stop_signals,
)
from runtime.nats import Heard, NatsLine
from runtime.postgres import Pool, Role, ask, connect, connect_copied, make_pool
from runtime.published_heads import log_head_part
from runtime.readiness import erasures_check, readiness, stopping_check, writes_check
from runtime.sealing import Sealer
from runtime.settings import MasterKeys, Settings, read_master_keys
from runtime.signed_heads import head_keeper
from runtime.telemetry.api import ApiWatch
from runtime.telemetry.gauges import watched
from runtime.telemetry.metrics import Metrics
from runtime.telemetry.tracing import make_tracer
from runtime.web.admission import Admission
from runtime.web.authentication import Authentication
from runtime.web.connections import limits_of
from runtime.web.frame import Frame, Part, Shown
from runtime.web.health import Check
from runtime.web.rate_limit import RateLimit
from runtime.web.server import serve
from runtime.web.wrong_keys import WrongKeys

LOOK_UP_CONNECTIONS: Final = 2
"""What a write looks up goes over these; appends go one after another, over one of their own."""

Side: TypeAlias = Literal["command", "query", "both"]


async def run_api(settings: Settings, side: Side, announce: Callable[[str], None]) -> None:
    """Serve HTTP until SIGTERM or SIGINT; then finish what is under way."""
    if not await await_migrations(settings, Role.API, "customers api"):
        return
    with stop_signals() as stop:
        async with api_app(settings, side, stop) as app:
            settle()
            await serve(
                app,
                settings.host,
                settings.port,
                announce=announce,
                stop=stop,
                drain_seconds=settings.drain_seconds,
            )


@asynccontextmanager
async def api_app(
    settings: Settings, side: Side = "both", stop: asyncio.Event | None = None
) -> AsyncGenerator[Litestar]:
    """The app of an API process until the block ends; from `stop` on nobody waits for events."""
    stop = stop or asyncio.Event()
    master_keys = read_master_keys(settings)
    keyring, sealer = Keyring(master_keys), Sealer(master_keys)
    tokens = Tokens(sealer, settings.log_id)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            make_pool(settings, Role.API, "customers api", size=settings.pool_size)
        )
        watch = ApiWatch(settings, pool)
        authentication = _authentication(settings, pool, watch)
        keys_ping = key_change_subject(settings.log_id)
        hears: dict[str, Heard] = {keys_ping: lambda _: authentication.invalidate()}
        line = NatsLine(settings, "customers api", hears=hears)
        parts = _parts_of_both_sides(settings, pool)
        checks = [stopping_check(stop), *readiness(pool, line, settings.log_id)]
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
                    stop=stop,
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
                _command_side(settings, keyring, tokens, ping_appended, watch)
            )
            parts.append(commands.part())
            checks.append(writes_check(commands.appender.silent_seconds, settings.write_wait))
        await stack.enter_async_context(line.kept_up())
        guard = await stack.enter_async_context(_guard(settings, pool, line))
        checks.append(erasures_check(lambda: guard.trouble))
        state: dict[str, object] = {"side": side, MASTER_KEYS_STATE: list(master_keys.by_id)}
        beats = _beats(settings, Role.API, "api", lambda: state | guard.state())
        parts += watch.parts(checks)
        watching = watched(settings, watch.metrics, line, watch.tracer)
        for context in (beats, watching):
            await stack.enter_async_context(context)
        frame = _frame(settings, authentication, checks, parts, watch)
        yield Litestar(plugins=[frame], openapi_config=None)


def _parts_of_both_sides(settings: Settings, pool: Pool) -> list[Part]:
    docs = [event_docs(settings.public_url)] if settings.docs else []
    return [log_head_part(settings, pool), *docs]


def _authentication(settings: Settings, pool: Pool, watch: ApiWatch) -> Authentication:
    wrong_keys = WrongKeys(settings.wrong_keys) if settings.wrong_keys else None
    if wrong_keys is not None:
        watch.measure_wrong_keys(wrong_keys)
    return Authentication(lambda key_hash: _find_key(pool, key_hash), wrong_keys=wrong_keys)


def _frame(
    settings: Settings,
    authentication: Authentication,
    checks: Sequence[Check],
    parts: Sequence[Part],
    watch: ApiWatch,
) -> Frame:
    limit = RateLimit(settings.rate_limit) if settings.rate_limit else None
    shown = Shown(docs=settings.docs, health_details=settings.health_details)
    admission = Admission(limits_of(settings))
    watch.measure_admission(admission)
    return Frame(authentication, checks, parts, limit, shown, admission, watch.watchers())


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
    watch: ApiWatch,
) -> AsyncGenerator[CommandSide]:
    async with (
        _event_log(settings, watch.pools) as (event_log, erasures),
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
            watch=AppendWatch(watch.metrics, watch.tracer),
        ) as commands,
    ):
        yield commands


@asynccontextmanager
async def _event_log(
    settings: Settings, pools: dict[str, Pool]
) -> AsyncGenerator[tuple[PostgresLog, Erasures]]:
    """The log on connections of its own, named in `pools`: writes never queue behind searches.

    An erasure takes its turn with the appends, which hold the same lock.
    """
    async with (
        make_pool(settings, Role.API, "customers api log", size=LOOK_UP_CONNECTIONS) as pool,
        make_pool(settings, Role.API, "customers api append", size=1) as append_pool,
    ):
        pools |= {"look_up": pool, "append": append_pool}
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


def _renderer(settings: Settings, keyring: Keyring) -> Renderer:
    return Renderer(keyring=keyring, log_id=settings.log_id, public_url=settings.public_url)


async def run_relay(settings: Settings) -> None:
    """Copy the log into JetStream until SIGTERM or SIGINT."""
    if not await await_migrations(settings, Role.RELAY, "customers relay"):
        return

    def appended(position: bytes) -> None:
        relay.appended(Position(int(position)))
        eraser.wake()

    def wake() -> None:
        relay.wake()
        eraser.wake()

    hears = {jetstream.appended_ping(settings.log_id): appended}
    line = NatsLine(settings, "customers relay", hears=hears, on_connected=wake)
    master_keys = read_master_keys(settings)
    metrics, tracer = Metrics(), make_tracer(settings, "relay")

    def judged() -> RelayState:
        state = eraser.judge(relay.state)
        return keeper.judge(state) if keeper else state

    relay = Relay(
        lambda: connect_copied(settings, Role.RELAY, "customers relay"),
        line.client,
        _renderer(settings, Keyring(master_keys)),
        replicas=settings.stream_replicas,
        message_max=settings.nats_max_payload,
        on_published=PublishWatch(metrics, tracer, judged).published,
    )

    eraser = Eraser(
        lambda: connect(settings, Role.RELAY, "customers relay erasures"),
        line.client,
        _ledger(settings, line),
        log_id=settings.log_id,
        replicas=settings.stream_replicas,
    )

    keeper = head_keeper(settings, line)

    async def work() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(eraser.run())
            if keeper is not None:
                tasks.create_task(keeper.run())
            # Nobody who was erased is published, of a database that was restored.
            await eraser.compared.wait()
            tasks.create_task(relay.run())

    beats = _beats(settings, Role.RELAY, "relay", lambda: _state_of(judged(), master_keys))
    async with line.kept_up(), beats, watched(settings, metrics, line, tracer):
        settle()
        await run_until_told(work())


async def run_projector(settings: Settings) -> None:
    """Keep the read model up to date until SIGTERM or SIGINT."""
    if not await await_migrations(settings, Role.PROJECTOR, "customers projector"):
        return

    def appended(position: bytes) -> None:
        runners.appended(Position(int(position)))

    async def ring(position: Position) -> None:
        await line.ping(jetstream.projected_ping(settings.log_id), b"%d" % position)

    line = NatsLine(
        settings, "customers projector", hears={jetstream.appended_ping(settings.log_id): appended}
    )
    master_keys = read_master_keys(settings)
    metrics, tracer = Metrics(), make_tracer(settings, "projector")
    runners = ProjectorRunners(
        lambda: connect(settings, Role.PROJECTOR, "customers projector"),
        line.client,
        Keyring(master_keys),
        log_id=settings.log_id,
        ring=ring,
        on_projected=ProjectionWatch(metrics, tracer, lambda: runners.state).projected,
    )
    beats = _beats(
        settings, Role.PROJECTOR, "projector", lambda: _state_of(runners.state, master_keys)
    )
    async with line.kept_up(), beats, watched(settings, metrics, line, tracer):
        settle()
        await run_until_told(runners.run())


def _state_of(state: object, master_keys: MasterKeys) -> dict[str, object]:
    return {**msgspec.to_builtins(state), MASTER_KEYS_STATE: list(master_keys.by_id)}


def _beats(
    settings: Settings, role: Role, kind: str, state: Callable[[], Mapping[str, object]]
) -> AbstractAsyncContextManager[UUID]:
    """On the list of processes, by a new connection for each beat.

    It is so that a process soon sees, also one that is not asked for anything, when another server
    is the primary now.
    """

    @asynccontextmanager
    async def lend() -> AsyncGenerator[AsyncConnection[TupleRow]]:
        async with await connect(settings, role, f"customers {kind} beat") as connection:
            yield connection

    return registered(lend, kind, state)


async def _find_key(pool: Pool, key_hash: bytes) -> Principal | None:
    return await ask(pool, lambda connection: lookup(connection, key_hash))
