"""Readiness is for everybody, so what it asks of the servers does not grow with who asks."""

import asyncio

import httpx
from litestar import Litestar

from runtime.web.authentication import Authentication
from runtime.web.frame import Frame
from runtime.web.health import Check, Probe
from tests.support.signals import turns
from tests.support.web import Keys


async def test_all_who_ask_at_once_share_one_look() -> None:
    gate, looks = asyncio.Event(), 0

    async def probe() -> Probe:
        nonlocal looks
        looks += 1
        await gate.wait()
        return Probe(ok=True, detail="answers")

    frame = Frame(Authentication(Keys().lookup), [Check(name="database", probe=probe)])
    transport = httpx.ASGITransport(Litestar(plugins=[frame], openapi_config=None))  # pyright: ignore[reportArgumentType] - Litestar types ASGI more narrowly
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        asking = [asyncio.create_task(client.get("/health/ready")) for _ in range(50)]
        await turns(50)
        asking[0].cancel()
        gate.set()
        answers = await asyncio.gather(*asking[1:])
        assert {answer.json()["checks"]["database"]["detail"] for answer in answers} == {"answers"}
        assert looks == 1
        await client.get("/health/ready")
        assert looks == 2
