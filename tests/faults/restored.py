"""Postgres is set back to an earlier copy of itself, while JetStream and clients know more."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.faults.faults import OWN_MARKER, Fault, register
from tests.faults.operators import begin_generation, operate, problems, until_told
from tests.faults.sending import BASE
from tests.faults.system import System
from tests.support.signals import until

_LOST: Final = 7


def data_of(system: System) -> Path:
    """Where Postgres keeps its data."""
    return next(system.folder.glob("**/PG_VERSION")).parent


async def _copy(source: Path, target: Path) -> None:
    await asyncio.to_thread(subprocess.run, ["cp", "--archive", source, target], check=True)


@asynccontextmanager
async def _restored(system: System) -> AsyncGenerator[None]:
    """What was written behind the copy is lost; the service says so, and contradicts nothing.

    No client of the load takes part in what is lost: its line is cut before the copy is taken. The
    processes run on all the time, unlike what the README asks for, because somebody will forget.
    """
    data = data_of(system)
    copy = data.with_name("earlier")
    line = system.line("client", "api")
    line.cut()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{system.api_port}{BASE}") as client:
        client.headers["X-Api-Key"] = system.workspaces[0].key
        client.headers["X-Request-Id"] = f"{OWN_MARKER}restored"
        await system.postgres.stop()
        await _copy(data, copy)
        await system.postgres.start()
        await until(system.is_ready, 60)
        lost = [await client.post("/customers", json=_customer(n)) for n in range(_LOST)]
        assert all(answer.status_code == 200 for answer in lost), lost[-1].text

        async def is_published() -> bool:
            return not await problems(system)

        await until(is_published, 60)
        yield
        await system.postgres.stop()
        data.rename(data.with_name("later"))
        copy.rename(data)
        await system.postgres.start()
        await until_told(system, "customers relay new-generation")
        await _contradicts_nothing(client, lost)
        before = await operate(system, "doctor")
        assert before.returncode == 1, before.stdout
        await begin_generation(system, "restored to an earlier point")
        await _contradicts_nothing(client, lost)
    line.heal()


def _customer(number: int) -> dict[str, str]:
    return {"email": f"lost{number}@example.com"}


async def _contradicts_nothing(client: httpx.AsyncClient, lost: list[httpx.Response]) -> None:
    """Places of the lost time are gone, and are never taken for those that stand there now."""
    # Beyond all that was lost: by its position alone, the newest place would now be another's.
    for _ in range(_LOST):
        again = await client.post("/customers", json={"email": "later@example.com"})
        assert again.status_code == 200, again.text
    for answer in lost:
        token = {"X-Consistency-Token": answer.headers["X-Consistency-Token"]}
        read = await client.get("/customers", headers=token)
        assert read.status_code == 410, read.text
        got = await client.get(f"/customers/{answer.json()['data']['id']}")
        assert got.status_code == 404, got.text


register(
    Fault(
        name="restored-postgres",
        about="Postgres is restored to an earlier point, while JetStream has what was lost",
        inject=_restored,
        shortest=5.0,
        longest=8.0,
        is_alone=True,
    )
)
