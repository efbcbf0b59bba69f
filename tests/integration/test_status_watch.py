"""`customers status --watch`, and that status, readiness and metrics say the same."""

import asyncio
import json

import httpx
from psycopg import Connection
from psycopg.rows import TupleRow

from runtime.settings import Settings
from runtime.status import read_status
from tests.support.api import running_api
from tests.support.builders import JANE, Writer, created
from tests.support.command import Command
from tests.support.projecting import project
from tests.support.writing import write


async def test_it_prints_a_line_for_each_look_and_ctrl_c_is_no_failure(command: Command) -> None:
    async with command.running("status", "--watch", "--json", "--every", "0.1") as watching:
        looks = [json.loads(await watching.line()) for _ in range(2)]
        ended = await watching.stop()
    assert [look["log_head"] for look in looks] == [0, 0]
    # Nobody works on this log, so that all is not well; to have watched that is no failure.
    assert "No relay is running: start one with `customers relay`." in looks[0]["problems"]
    assert (ended.code, ended.err) == (0, "")


def test_who_is_parked_is_told_by_status_as_by_metrics_and_readiness(
    settings: Settings, writer: Writer, owner: Connection[TupleRow]
) -> None:
    owner.execute("ALTER TABLE edition_1.customers ADD CONSTRAINT nobody CHECK (false)")
    john = writer.a_customer()
    write(settings, writer.group(writer.event(john, 1, created(JANE))))
    project(settings)

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        async with running_api(settings) as api:
            return await api.get("/health/ready"), await api.get("/metrics")

    ready, metrics = asyncio.run(ask())
    assert ready.json()["checks"]["parked"]["ok"] is False
    assert "\ncustomers_parked_customers 1.0\n" in metrics.text
    assert '\ncustomers_health_check{check="parked"} 0.0\n' in metrics.text
    found = read_status(settings, None)
    assert (found.parked_customers, found.lag_events, found.lag_seconds) == (1, 0, 0.0)
    assert [problem for problem in found.problems if "parked" in problem]
