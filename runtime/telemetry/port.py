"""A port of a process's own for its metrics, where the settings ask for one.

A relay does not stop because somebody has its port: it says so, and tries again.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from runtime.failure import Failure
from runtime.settings import Settings
from runtime.tasks import end
from runtime.telemetry.metrics import Metrics
from runtime.waiting import is_set_within
from runtime.web.metrics import ServedMetrics, metrics_app
from runtime.web.server import serve

_RETRY_SECONDS: Final = 5.0
_LEAVE_SECONDS: Final = 1.0

log = structlog.get_logger()


def has_own_port(settings: Settings) -> bool:
    """Whether metrics are answered there, and so nowhere else."""
    return settings.metrics and settings.metrics_port is not None


@asynccontextmanager
async def metrics_served(
    settings: Settings, metrics: Metrics, *, on_port: Callable[[int], None] | None = None
) -> AsyncGenerator[None]:
    """Answer `/metrics` on that port while the block runs; `on_port` is told which it is."""
    if not has_own_port(settings):
        yield
        return
    stop = asyncio.Event()
    serving = asyncio.create_task(_serve_for_ever(settings, metrics, stop, on_port))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({serving}, timeout=_LEAVE_SECONDS)
        await end(serving)


async def _serve_for_ever(
    settings: Settings,
    metrics: Metrics,
    stop: asyncio.Event,
    on_port: Callable[[int], None] | None,
) -> None:
    app = metrics_app(ServedMetrics(metrics=metrics, token=settings.metrics_token))

    def announce(line: str) -> None:
        port = int(json.loads(line)["port"])
        log.info("metrics.served", host=settings.metrics_host, port=port)
        if on_port is not None:
            on_port(port)

    while not stop.is_set():
        try:
            await serve(
                app, settings.metrics_host, settings.metrics_port or 0, announce=announce, stop=stop
            )
        except Failure as failure:
            log.warning("metrics.unserved", reason=failure.reason, retry_seconds=_RETRY_SECONDS)
            await is_set_within(stop, _RETRY_SECONDS)
