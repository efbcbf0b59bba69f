"""Metrics on a port of their own: there, for who may, and nowhere else."""

import socket

import httpx
from msgspec.structs import replace
from structlog.testing import capture_logs

from runtime.embedded.ports import free_port
from runtime.settings import Settings
from runtime.telemetry.metrics import Metrics
from runtime.telemetry.port import metrics_served
from tests.support.api import running_api
from tests.support.signals import until


async def test_an_api_with_a_port_for_its_metrics_tells_them_there_alone(
    settings: Settings,
) -> None:
    port = free_port()
    there = replace(settings, metrics_port=port, metrics_token="secret")
    url = f"http://127.0.0.1:{port}/metrics"
    async with running_api(there) as api, httpx.AsyncClient() as prometheus:

        async def is_served() -> bool:
            try:
                return (await prometheus.get(url)).status_code == 401
            except httpx.ConnectError:
                return False

        await until(is_served)
        told = await prometheus.get(url, headers={"Authorization": "Bearer secret"})
        elsewhere = await prometheus.get(f"http://127.0.0.1:{port}/health/live")
        assert (await api.get("/metrics")).status_code == 404
        assert (await api.get("/health/live")).status_code == 200
    assert "customers_log_head_position 0.0" in told.text
    assert elsewhere.status_code == 404


async def test_who_finds_the_port_taken_works_on_and_says_so(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as said:
        port = taken.getsockname()[1]
        async with metrics_served(replace(settings, metrics_port=port), Metrics()):
            await until(lambda: bool(said))
    assert [line["event"] for line in said] == ["metrics.unserved"]


async def test_closed_metrics_have_no_port_either(settings: Settings) -> None:
    port = free_port()
    closed = replace(settings, metrics=False, metrics_port=port)
    with capture_logs() as said:
        async with metrics_served(closed, Metrics()), running_api(closed) as api:
            assert (await api.get("/metrics")).status_code == 404
    assert not [line for line in said if line["event"].startswith("metrics.")]
