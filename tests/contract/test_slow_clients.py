"""Clients that send too slowly, or take no answer, cost a connection for a while, and no more."""

import asyncio

import pytest

from runtime.web.connections import Limits
from tests.support.crowd import LARGE, a_request, a_server, calling
from tests.support.signals import until

HASTY = Limits(requests=2, reads=2, client_wait=0.2, request_wait=30)
"""One request at once of each workspace, and little patience with clients."""


@pytest.mark.parametrize(
    "sent", [b"G", b"GET /health/live HTTP/1.1\r\n", a_request()[:-2] + b"X-A: ", a_request()[:-1]]
)
async def test_a_head_that_does_not_come_is_not_awaited_for_long(sent: bytes) -> None:
    async with a_server(HASTY) as served, calling(served) as (caller,):
        caller.send(sent)
        status, headers, problem = await caller.problem()
        assert (status, headers["connection"]) == (408, "close")
        assert problem["type"] == "/problems/request_timeout"
        assert "within 0.2 s" in problem["message"]
        assert await caller.is_ended()
        assert served.admission.counts()["slow_client"] == 1


async def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_another() -> None:
    async with a_server(HASTY) as served, calling(served) as (caller,):
        sent = iter(a_request(X_A="x" * 10_000))

        def send_one_more() -> bool:
            caller.send(bytes([next(sent)]))
            return served.open == 0

        await until(lambda: served.open == 1)
        await until(send_one_more)
        assert served.admission.counts()["slow_client"] == 1
        assert served.gate.begun == 0


async def test_a_connection_on_which_nothing_is_ever_asked_is_ended_without_a_word() -> None:
    async with a_server(HASTY) as served, calling(served) as (caller,):
        async with asyncio.timeout(30):
            assert await caller.reader.read() == b""
        assert served.admission.counts()["slow_client"] == 0


async def test_line_ends_before_a_request_do_not_keep_a_connection() -> None:
    async with a_server(HASTY) as served, calling(served) as (caller,):
        caller.send(b"\r\n" * 100)
        assert await caller.is_ended()
        assert served.open == 0


async def test_a_connection_that_is_idle_for_too_long_is_ended_without_a_word() -> None:
    async with a_server(Limits(keep_alive=0.1)) as served, calling(served) as (caller,):
        caller.ask("/quick")
        assert await caller.status() == 200
        async with asyncio.timeout(30):
            assert await caller.reader.read() == b""


@pytest.mark.parametrize("length", [b"Content-Length: 5000", b"Transfer-Encoding: chunked"])
async def test_a_body_that_is_announced_and_not_sent_is_not_awaited_and_holds_no_place(
    length: bytes,
) -> None:
    async with a_server(HASTY) as served, calling(served, 2) as (slow, other):
        slow.send(a_request(method="POST")[:-2] + length + b"\r\n\r\n")
        await until(lambda: served.gate.begun == 1)
        other.ask(method="POST", body=b"{}")
        await until(lambda: served.gate.read == 2)
        status, answered, problem = await slow.problem()
        assert (status, answered["connection"]) == (408, "close")
        assert problem["type"] == "/problems/request_timeout"
        assert await slow.is_ended()
        served.gate.opened.set()
        assert await other.status() == 200
        assert served.gate.read == 2


async def test_a_request_that_was_answered_before_its_body_came_is_not_answered_twice() -> None:
    async with a_server(HASTY) as served, calling(served) as (caller,):
        caller.ask("/quick", method="POST", Content_Length="5000")
        assert await caller.status() == 405
        async with asyncio.timeout(30):
            assert await caller.reader.read() == b""


async def test_a_body_that_comes_slowly_but_comes_is_taken() -> None:
    piece = b"x" * 100_000
    async with a_server(Limits(client_wait=5)) as served, calling(served) as (caller,):
        served.gate.opened.set()
        caller.ask(method="POST", Content_Length=str(3 * len(piece)))
        for count in range(1, 4):
            caller.send(piece)
            if count < 3:
                await until(lambda: served.admission._body_bytes >= len(piece))
        assert await caller.status() == 200
        assert served.gate.read == 3 * len(piece)
    assert served.admission._body_bytes == 0


async def test_a_body_without_an_end_is_refused_and_then_not_even_read() -> None:
    async with a_server(Limits()) as served, calling(served) as (caller,):
        caller.ask(method="POST", Transfer_Encoding="chunked")
        ending = asyncio.create_task(_send_for_ever(caller.writer))
        assert await caller.status() == 413
        assert await caller.is_ended()
        ending.cancel()
        assert served.admission.writes.taken == 0


async def _send_for_ever(writer: asyncio.StreamWriter) -> None:
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    while not writer.transport.is_closing():
        writer.write(chunk)
        await writer.drain()


async def test_bodies_of_all_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.web.admission.BODIES_MAX", 300_000)
    body = b"x" * 200_000
    async with a_server(Limits()) as served, calling(served, 2) as (first, second):
        first.ask(method="POST", body=body)
        await until(lambda: served.gate.read == len(body))
        second.ask(method="POST", body=body)
        status, headers, problem = await second.problem()
        assert (status, problem["type"]) == (503, "/problems/unavailable")
        assert int(headers["retry-after"]) > 0
        served.gate.opened.set()
        assert await first.status() == 200
        second.ask(method="POST", body=body)
        assert await second.status() == 200


async def test_who_never_takes_an_answer_is_given_up_and_holds_no_place() -> None:
    async with a_server(HASTY) as served, calling(served) as (idler,):
        idler.stop_taking()
        idler.ask("/large")
        await until(lambda: any(one.unsent() for one in served.admission.connections.open))
        async with calling(served) as (other,):
            other.ask("/large")
            assert len((await other.answer())[2]) == LARGE
        await until(lambda: served.open == 0)
        assert served.admission.counts()["slow_client"] == 1


async def test_who_takes_an_answer_slowly_but_takes_it_is_waited_for() -> None:
    async with a_server(Limits(client_wait=300)) as served, calling(served) as (caller,):
        caller.stop_taking()
        caller.ask("/large")
        connections = served.admission.connections
        await until(lambda: any(one.unsent() for one in connections.open))
        (connection,) = connections.open
        due, unsent = connection.write_due, connection.unsent()
        caller.take_again()
        await caller.reader.readexactly(LARGE // 8)
        caller.stop_taking()
        await until(lambda: connection.unsent() < unsent)
        connections.look(due)
        assert connection.write_due > due
        caller.take_again()
        await caller.reader.readexactly(LARGE // 8 * 7)


async def test_answers_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.web.connections.UNSENT_MAX", LARGE)
    async with a_server(Limits(client_wait=300)) as served, calling(served, 3) as callers:
        for caller in callers:
            caller.stop_taking()
            caller.ask("/large")
        await until(lambda: served.admission.counts()["slow_client"] == 2)
        await until(lambda: served.open == 1)
        callers[2].take_again()
        assert len((await callers[2].answer())[2]) == LARGE


async def test_requests_sent_ahead_are_answered_in_turn_and_kept_as_the_bytes_they_were() -> None:
    count = 1500
    async with a_server(Limits()) as served, calling(served) as (caller,):
        caller.ask()
        caller.send(a_request("/quick") * count)
        await until(lambda: served.gate.begun == 1)
        (connection,) = served.admission.connections.open
        await until(lambda: bool(connection._unparsed))
        assert len(connection.pipeline) < 100
        served.gate.opened.set()
        for _ in range(count + 1):
            assert await caller.status() == 200


async def test_a_stream_that_nobody_reads_does_not_keep_the_process_from_ending() -> None:
    async with a_server(Limits(client_wait=300)) as served, calling(served) as (caller,):
        caller.stop_taking()
        caller.ask("/stream?much=1")
        await until(lambda: any(one.unsent() for one in served.admission.connections.open))
        served.stop.set()
        await until(lambda: served.open == 0, 5)


async def test_a_request_under_way_is_answered_before_the_process_ends() -> None:
    async with a_server(Limits()) as served, calling(served) as (caller,):
        connections = served.admission.connections
        patience = connections.client_wait
        caller.ask()
        await until(lambda: served.gate.begun == 1)
        served.stop.set()
        await until(lambda: connections.client_wait < patience)
        connections.look(asyncio.get_running_loop().time() + patience)
        served.gate.opened.set()
        assert await caller.status() == 200
