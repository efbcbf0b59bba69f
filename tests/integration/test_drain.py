"""An API process that was told to stop: it sends everybody elsewhere, and refuses nobody."""

import httpx
from msgspec.structs import replace

from runtime.settings import Settings
from tests.benchmarks.deployment import a_process, announced_port
from tests.support.api import make_key
from tests.support.signals import until

_LONGER_THAN_THE_TEST = 300.0


async def test_whoever_is_told_to_stop_says_so_and_still_answers(settings: Settings) -> None:
    patient = replace(settings, drain_seconds=_LONGER_THAN_THE_TEST)
    with a_process(patient, "api", "--port", "0") as process:
        url = f"http://127.0.0.1:{announced_port(process)}"
        async with httpx.AsyncClient(
            base_url=url, headers={"X-Api-Key": make_key(settings)}, timeout=30
        ) as client:

            async def is_ready() -> bool:
                return (await client.get("/health/ready")).status_code == 200

            async def is_stopping() -> bool:
                return not await is_ready()

            await until(is_ready)
            before = await client.post("/api/v1/external/customers", json={"email": "a@b.test"})
            process.terminate()
            await until(is_stopping)
            ready = await client.get("/health/ready")
            after = await client.post("/api/v1/external/customers", json={"email": "c@d.test"})
        process.kill()

    assert before.status_code == after.status_code == 200
    assert "connection" not in before.headers
    assert ready.json()["checks"]["process"] == {"ok": False, "detail": "stopping"}
    assert ready.headers["connection"] == after.headers["connection"] == "close"


def test_who_has_nobody_to_send_elsewhere_stops_at_once(settings: Settings) -> None:
    with a_process(settings, "api", "--port", "0") as process:
        announced_port(process)
        process.terminate()
        assert process.wait(60) == 0
