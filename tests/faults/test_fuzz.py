"""A short run of what `python -m tests.faults.fuzz` does for as long as one likes."""

import asyncio
import json

from msgspec.structs import replace

from runtime.processes import api_app
from runtime.settings import Settings
from runtime.web.server import serve
from tests.faults.fuzz import attack
from tests.support.api import make_key


async def test_hostile_requests_are_all_answered_and_none_by_a_fault_of_ours(
    settings: Settings,
) -> None:
    free = replace(settings, rate_limit=0, wrong_keys=0, read_wait=0)
    keys = [make_key(settings), make_key(settings, "globex"), make_key(settings, test=True)]
    announced = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    async with api_app(free, stop=stop) as app:
        serving = asyncio.create_task(
            serve(app, "127.0.0.1", 0, announce=announced.set_result, stop=stop)
        )
        url = f"http://127.0.0.1:{json.loads(await announced)['port']}"
        found = await attack(url, keys, 7, seconds=60, most=400)
        stop.set()
        await serving
    assert found.faults == []
    assert found.requests == 400
    assert {"200", "400", "401", "404", "412", "422"} & set(found.statuses) >= {"200", "400", "404"}
