"""What is told at a scrape: what is known, and nothing that is not."""

import asyncio
from typing import Literal

import psycopg

from runtime.progress import Progress
from runtime.telemetry.gauges import measure_checks, measure_progress
from runtime.telemetry.metrics import SECONDS, Metrics
from runtime.web.health import Check, Probe

PROGRESS = Progress(
    generation=2,
    head=12,
    checkpoint=10,
    projection_lag_seconds=1.5,
    sequence=None,
    stream_lag_seconds=4.0,
    parked=1,
    receipts=0,
)


async def told(metrics: Metrics) -> list[str]:
    """The lines of a scrape that hold numbers of ours."""
    page, _ = await metrics.page()
    return [line for line in page.decode().splitlines() if line.startswith("customers_")]


async def test_what_is_not_known_is_not_told() -> None:
    metrics = Metrics()
    answers: list[Progress | None] = [PROGRESS, None]

    async def ask() -> Progress:
        found = answers[0]
        if found is None:
            raise psycopg.OperationalError("away")
        return found

    measure_progress(metrics, ask)
    lines = await told(metrics)
    assert "customers_projection_lag_events 2.0" in lines
    assert "customers_stream_lag_events 12.0" in lines
    assert not [line for line in lines if line.startswith("customers_stream_sequence")]
    away = Metrics()
    answers[0] = None
    measure_progress(away, ask)
    assert [line.partition("{")[0] for line in await told(away)] == ["customers_build_info"]


async def test_servers_are_asked_once_a_second_however_often_somebody_scrapes() -> None:
    metrics, asked = Metrics(), 0

    async def probe() -> Probe:
        nonlocal asked
        asked += 1
        return Probe(ok=asked == 1, detail="")

    measure_checks(metrics, [Check(name="database", probe=probe)])
    for _ in range(5):
        assert 'customers_health_check{check="database"} 1.0' in await told(metrics)
    assert asked == 1


async def test_all_who_ask_at_once_share_a_page_that_is_made_behind_their_asking() -> None:
    metrics, made = Metrics(), 0

    def count() -> float:
        nonlocal made
        made += 1
        return made

    metrics.gauge("customers_pages", "Made until now.", count)
    await told(metrics)
    pages = await asyncio.gather(*(told(metrics) for _ in range(50)))
    assert made == 2
    assert all("customers_pages 2.0" in page for page in pages)


async def test_of_all_conditions_the_present_one_is_told() -> None:
    metrics, now = Metrics(), "live"
    metrics.condition("customers_condition", Literal["live", "stopped"], lambda: now)
    assert 'customers_condition{condition="live"} 1.0' in await told(metrics)
    now = "stopped"
    assert 'customers_condition{condition="live"} 0.0' in await told(metrics)
    assert 'customers_condition{condition="stopped"} 1.0' in await told(metrics)


async def test_counters_are_told_from_the_start_and_end_in_total() -> None:
    metrics, shed = Metrics(), {"busy": 0, "slow": 0}
    metrics.counter("customers_shed", "Refused.", lambda: shed, label="reason")
    assert 'customers_shed_total{reason="slow"} 0.0' in await told(metrics)
    shed["slow"] += 3
    assert 'customers_shed_total{reason="slow"} 3.0' in await told(metrics)


async def test_no_series_says_when_it_began() -> None:
    metrics = Metrics()
    metrics.histogram("customers_time_seconds", "Time.", SECONDS).observe(1)
    assert not [line for line in await told(metrics) if "_created" in line]
