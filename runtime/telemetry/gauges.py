"""What every kind of process tells of the servers it works with: the log, NATS, its connections."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import psycopg

from runtime.nats import NatsLine
from runtime.postgres import Pool
from runtime.progress import Progress
from runtime.settings import Settings
from runtime.telemetry.metrics import Metrics
from runtime.telemetry.port import metrics_served
from runtime.telemetry.tracing import Tracer
from runtime.web.health import Check, run_checks

_ASK_SECONDS: Final = 2.0
_FRESH_SECONDS: Final = 1.0


@asynccontextmanager
async def watched(
    settings: Settings, metrics: Metrics, line: NatsLine, tracer: Tracer | None
) -> AsyncGenerator[None]:
    """Tell what there is to tell while the block runs, on a port of its own where there is one."""
    _measure_line(metrics, line)
    async with metrics_served(settings, metrics):
        try:
            yield
        finally:
            if tracer is not None:
                await asyncio.to_thread(tracer.close)


def _measure_line(metrics: Metrics, line: NatsLine) -> None:
    """Whether there is a line to NATS."""
    words = "Whether this process has a line to NATS."
    metrics.gauge("customers_nats_connected", words, lambda: float(line.connected))


def measure_checks(metrics: Metrics, checks: Sequence[Check]) -> None:
    """What `/health/ready` would say now."""
    found: dict[str, float] = {}

    async def look() -> None:
        probes = await run_checks(checks)
        found.update(
            (check.name, float(probe.ok)) for check, probe in zip(checks, probes, strict=True)
        )

    metrics.before_scrape(at_most_every(_FRESH_SECONDS, look))
    words = "Whether a check of /health/ready is well."
    metrics.gauge("customers_health_check", words, lambda: found, label="check")


def measure_progress(metrics: Metrics, ask: Callable[[], Awaitable[Progress]]) -> None:
    """How far log, stream and read model are; nothing while the database cannot say."""
    known: Progress | None = None

    async def look() -> None:
        nonlocal known
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                known = await ask()
        except (psycopg.Error, TimeoutError):
            known = None

    metrics.before_scrape(at_most_every(_FRESH_SECONDS, look))
    for name, about, read in _PROGRESS:
        metrics.gauge(name, about, lambda read=read: None if known is None else read(known))


_PROGRESS: Final[Sequence[tuple[str, str, Callable[[Progress], float | None]]]] = (
    ("customers_log_generation", "The generation of the log.", lambda p: p.generation),
    ("customers_log_head_position", "The position of the newest event.", lambda p: p.head),
    (
        "customers_stream_sequence",
        "The last sequence of the JetStream stream, as the relay last said it.",
        lambda p: p.sequence,
    ),
    (
        "customers_stream_lag_events",
        "Events of the log that were not in the stream when the relay last said so.",
        lambda p: p.stream_lag,
    ),
    (
        "customers_stream_lag_seconds",
        "The age of the oldest of them; 0: none.",
        lambda p: p.stream_lag_seconds,
    ),
    (
        "customers_checkpoint_position",
        "The position of the newest event that the read model shows.",
        lambda p: p.checkpoint,
    ),
    (
        "customers_projection_lag_events",
        "Events of the log that the read model does not show.",
        lambda p: p.projection_lag,
    ),
    (
        "customers_projection_lag_seconds",
        "The age of the oldest of them; 0: none.",
        lambda p: p.projection_lag_seconds,
    ),
    (
        "customers_parked_customers",
        "Customers whose events the read model could not take.",
        lambda p: p.parked,
    ),
    (
        "customers_receipts",
        "Idempotency-Keys that are remembered, as Postgres estimates it.",
        lambda p: p.receipts,
    ),
)

_POOL_GAUGES: Final = (
    ("connections", "pool_size", "Connections to Postgres that are there."),
    ("connections_max", "pool_max", "Connections to Postgres that there may be."),
    ("connections_idle", "pool_available", "Connections to Postgres that nobody uses now."),
    ("waiting", "requests_waiting", "Questions that wait for a connection now."),
)
_POOL_COUNTERS: Final = (
    ("requests", "requests_num", 1.0, "Connections that were asked for."),
    ("queued", "requests_queued", 1.0, "Times that a connection had to be waited for."),
    ("wait_seconds", "requests_wait_ms", 1000.0, "Seconds that connections were waited for."),
    ("timeouts", "requests_errors", 1.0, "Times that no connection could be had in time."),
    ("connections_lost", "connections_lost", 1.0, "Connections that broke while nobody used them."),
)


def measure_pools(metrics: Metrics, pools: Mapping[str, Pool]) -> None:
    """How far the pools are used, each by its name; more may be put there later."""

    def reading(key: str, unit: float = 1.0) -> Callable[[], Mapping[str, float]]:
        # What has never happened is not in the statistics.
        return lambda: {name: pool.get_stats().get(key, 0) / unit for name, pool in pools.items()}

    for name, key, about in _POOL_GAUGES:
        metrics.gauge(f"customers_pool_{name}", about, reading(key), label="pool")
    for name, key, unit, about in _POOL_COUNTERS:
        metrics.counter(f"customers_pool_{name}", about, reading(key, unit), label="pool")


def at_most_every(
    seconds: float, look: Callable[[], Awaitable[None]]
) -> Callable[[], Awaitable[None]]:
    """Look only when the last look is so long ago: anybody may ask, as often as they like."""
    next_at = 0.0

    async def look_now_and_then() -> None:
        nonlocal next_at
        now = asyncio.get_running_loop().time
        if now() >= next_at:
            await look()
            next_at = now() + seconds

    return look_now_and_then
