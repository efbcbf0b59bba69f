"""More requests and connections than can be served: 503 at once or soon, and nobody starves."""

import asyncio

import pytest
from msgspec.structs import replace

from runtime.settings import Settings
from runtime.tasks import end
from runtime.web.connections import Limits
from tests.support.api import CUSTOMERS, make_key
from tests.support.crowd import ACME, GLOBEX, MANY, a_server, calling
from tests.support.feed import EVENTS, serving
from tests.support.signals import until
from tests.support.writing import create

NARROW = Limits(requests=4, reads=4, request_wait=0.05)
"""Two requests at once of each workspace, and hardly any wait."""


async def test_what_cannot_be_worked_on_soon_is_refused_before_it_is_begun() -> None:
    async with a_server(NARROW) as served, calling(served, 3) as callers:
        for caller in callers[:2]:
            caller.ask()
        await until(lambda: served.gate.begun == 2)
        callers[2].ask(X_Request_Id="r-1", Accept="application/problem+json")
        status, headers, problem = await callers[2].problem()
        assert (status, problem["type"]) == (503, "/problems/unavailable")
        assert headers["content-type"] == "application/problem+json"
        assert headers["retry-after"] in {"1", "2", "3"}
        assert headers["x-request-id"] == problem["meta"]["request_id"] == "r-1"
        assert f"Send it again in {headers['retry-after']} s." in problem["message"]
        assert problem["instance"].endswith("/held")
        assert served.gate.begun == 2
        assert served.admission.counts()["place"] == 1
        # The connection stays, and is served as soon as there is room.
        served.gate.opened.set()
        assert [await caller.status() for caller in callers[:2]] == [200, 200]
        callers[2].ask()
        assert await callers[2].status() == 200


async def test_what_is_refused_has_the_headers_of_every_answer() -> None:
    async with a_server(NARROW) as served, calling(served, 3) as callers:
        for caller in callers[:2]:
            caller.ask()
        await until(lambda: served.gate.begun == 2)
        callers[2].ask()
        _, headers = await callers[2].head()
        assert headers["ratelimit-policy"] == f'"default";q={MANY};w=60'
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "date" in headers
        assert "connection" not in headers


async def test_what_is_refused_while_the_process_drains_ends_its_connection_too() -> None:
    async with a_server(NARROW, drain_seconds=0.5) as served, calling(served, 3) as callers:
        for caller in callers[:2]:
            caller.ask()
        await until(lambda: served.gate.begun == 2)
        served.stop.set()
        callers[2].ask()
        status, headers, _ = await callers[2].problem()
        assert (status, headers["connection"]) == (503, "close")
        assert await callers[2].is_ended()


async def test_a_refused_head_request_gets_a_head_alone() -> None:
    async with a_server(NARROW) as served, calling(served, 3) as callers:
        for caller in callers[:2]:
            caller.ask()
        await until(lambda: served.gate.begun == 2)
        callers[2].ask(method="HEAD")
        callers[2].ask("//health/live")
        status, headers = await callers[2].head()
        assert (status, int(headers["content-length"]) > 0) == (503, True)
        assert await callers[2].status() == 200


async def test_health_is_told_whatever_is_refused() -> None:
    limits = Limits(requests=2, reads=2, request_wait=0.05, connections=3)
    async with a_server(limits) as served, calling(served, 3) as callers:
        for caller in callers:
            caller.ask()
        await until(lambda: served.gate.begun == 1)
        # One is worked on, two were refused or wait: there are as many connections as may be.
        async with calling(served) as (watcher,):
            for path in ("//health/live", "//health/ready"):
                watcher.ask(path)
                assert await watcher.status() == 200


async def test_one_workspace_does_not_starve_another() -> None:
    limits = Limits(requests=4, reads=4, request_wait=30)
    async with a_server(limits) as served, calling(served, 40) as crowd:
        for caller in crowd:
            caller.ask(key=ACME)
        await until(lambda: served.gate.begun == 2)
        async with calling(served) as (other,):
            # Nobody has seen its key yet: its first request has a place as well.
            other.ask(key=GLOBEX)
            await until(lambda: served.gate.begun == 3)
            assert served.admission.reads.waiting == 38


async def test_writes_that_stand_still_are_in_no_reads_way() -> None:
    async with a_server(NARROW) as served, calling(served, 4) as (first, second, third, reader):
        for caller in (first, second):
            caller.ask(method="POST", body=b"{}")
        await until(lambda: served.gate.begun == 2)
        third.ask(method="POST", body=b"{}")
        assert await third.status() == 503
        reader.ask("/quick")
        assert (await reader.answer())[0] == 200


async def test_who_gave_up_waiting_is_not_worked_for() -> None:
    limits = Limits(requests=2, reads=2, request_wait=30)
    async with a_server(limits) as served, calling(served, 2) as (first, second):
        first.ask()
        await until(lambda: served.gate.begun == 1)
        second.ask()
        await until(lambda: served.admission.reads.waiting == 1)
        second.writer.transport.abort()
        await until(lambda: served.open == 1)
        served.gate.opened.set()
        assert await first.status() == 200
        assert (served.gate.begun, served.admission.reads.waiting) == (1, 0)


async def test_connections_that_nobody_uses_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.web.connections._SETTLED_SECONDS", 0.0)
    async with a_server(Limits(connections=2)) as served, calling(served, 2) as (idle, busy):
        served.gate.opened.set()
        idle.ask()
        assert await idle.status() == 200
        served.hold()
        busy.ask(key=GLOBEX)
        await until(lambda: served.gate.begun == 2)
        async with calling(served) as (late,):
            assert await idle.is_ended()
            late.ask("/quick")
            assert await late.status() == 200
            assert served.admission.counts()["connection"] == 0


async def test_where_there_is_no_room_for_a_connection_it_is_told_so_and_ended() -> None:
    async with a_server(Limits(connections=2)) as served, calling(served, 2) as callers:
        for caller, key in zip(callers, (ACME, GLOBEX), strict=True):
            caller.ask(key=key)
        await until(lambda: served.gate.begun == 2)
        async with calling(served) as (late,):
            late.ask(Accept="application/problem+json")
            status, headers, problem = await late.problem()
            assert (status, headers["connection"]) == (503, "close")
            assert headers["retry-after"] == "1"
            assert headers["content-type"] == "application/problem+json"
            assert problem["instance"].endswith("/held")
            assert problem["message"].startswith("This server has too many connections.")
            assert problem["meta"]["request_id"] == headers["x-request-id"]
            assert await late.is_ended()
        assert served.admission.counts()["connection"] == 1


async def test_far_too_many_connections_are_ended_without_being_heard() -> None:
    async with a_server(Limits(connections=1)) as served, calling(served, 3) as callers:
        status, headers, problem = await callers[2].problem()
        assert (status, headers["connection"]) == (503, "close")
        assert problem["type"] == "/problems/unavailable"
        assert await callers[2].is_ended()


async def test_one_workspace_leaves_half_of_the_connections_to_others() -> None:
    async with a_server(Limits(connections=4)) as served, calling(served, 4) as callers:
        for caller in callers[:2]:
            caller.ask()
        await until(lambda: served.gate.begun == 2)
        callers[2].ask()
        status, headers, problem = await callers[2].problem()
        assert (status, headers["connection"]) == (503, "close")
        assert problem["message"].startswith("Your workspace has too many connections")
        callers[3].ask("/quick", key=GLOBEX)
        assert await callers[3].status() == 200
        # One that goes makes room for the next of its workspace.
        callers[0].writer.close()
        await until(lambda: served.open == 2)
        async with calling(served) as (again,):
            again.ask("/quick")
            assert await again.status() == 200


async def test_connections_that_a_workspace_does_not_use_make_room_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime.web.connections._SETTLED_SECONDS", 0.0)
    async with a_server(Limits(connections=4)) as served, calling(served, 4) as callers:
        callers[0].ask("/quick", key=GLOBEX)
        assert await callers[0].status() == 200
        for caller in callers[1:]:
            caller.ask("/quick")
            assert await caller.status() == 200
        assert await callers[1].is_ended()
        assert served.open == 3
        assert served.admission.counts()["connection"] == 0


async def test_one_key_keeps_no_more_event_streams_open_than_its_share() -> None:
    async with a_server(Limits(streams=4)) as served, calling(served, 3) as callers:
        callers[0].ask("/stream")
        assert (await callers[0].reader.readuntil(b"begun")).startswith(b"HTTP/1.1 200")
        callers[1].ask("/stream")
        status, headers, problem = await callers[1].problem()
        assert (status, problem["type"]) == (429, "/problems/rate_limited")
        assert "Close one" in problem["message"]
        assert int(headers["retry-after"]) > 0
        callers[2].ask("/stream", key=GLOBEX)
        assert (await callers[2].reader.readuntil(b"begun")).startswith(b"HTTP/1.1 200")
        callers[0].writer.transport.abort()
        await until(lambda: served.open == 2)
        callers[1].ask("/stream")
        assert (await callers[1].reader.readuntil(b"begun")).startswith(b"HTTP/1.1 200")


async def test_there_are_no_more_event_streams_than_there_may_be() -> None:
    async with a_server(Limits(streams=1)) as served, calling(served, 2) as (first, second):
        first.ask("/stream")
        await first.reader.readuntil(b"begun")
        second.ask("/stream", key=GLOBEX)
        status, headers, problem = await second.problem()
        assert (status, problem["type"]) == (503, "/problems/unavailable")
        assert int(headers["retry-after"]) > 0


async def test_an_event_stream_holds_no_place() -> None:
    async with a_server(NARROW) as served, calling(served, 5) as callers:
        for caller in callers[:4]:
            caller.ask("/stream")
            await caller.reader.readuntil(b"begun")
        assert served.admission.reads.taken == 0
        callers[4].ask("/quick")
        async with asyncio.timeout(30):
            assert await callers[4].status() == 200


async def test_who_waits_for_an_event_or_for_a_write_to_be_shown_holds_no_place(
    settings: Settings,
) -> None:
    narrow = replace(settings, requests=2, pool_size=2, request_wait=300, read_wait=2)
    key = make_key(settings)
    async with serving(narrow, key) as (server, client):
        # One read of a workspace at once. No projector runs: what is written is not shown.
        customer = await create(client)
        reading = asyncio.create_task(client.get(f"{CUSTOMERS}/{customer}"))
        await until(lambda: server.reading() == 1)
        polling = asyncio.create_task(client.get(f"{EVENTS}?after=now&wait=30"))
        await until(lambda: server.waiting() == 1)
        listed = await client.get(f"{CUSTOMERS}?consistency=eventual")
        assert listed.json()["meta"]["total"] == 0
        assert not polling.done()
        await end(reading, polling)
