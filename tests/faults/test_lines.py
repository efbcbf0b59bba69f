"""What a line does to those at its ends, seen from both."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from tests.faults.lines import Direction, Line
from tests.support.signals import until


class Ends:
    """A server that says everything again, and what it heard; and a client of it."""

    def __init__(self) -> None:
        self.heard = b""
        self.hung_up = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say everything again, until the client hangs up."""
        try:
            while said := await reader.read(1000):
                self.heard += said
                writer.write(said)
        except ConnectionError:
            pass
        self.hung_up += 1
        writer.close()


class Caller:
    """A client at the near end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, words: bytes) -> bytes:
        """Say something and hear all of it back."""
        self.writer.write(words)
        return await self.reader.readexactly(len(words))

    def hearing(self, count: int) -> asyncio.Task[bytes]:
        """What comes, as soon as it does."""
        return asyncio.create_task(self.reader.readexactly(count))


@asynccontextmanager
async def a_line() -> AsyncGenerator[tuple[Line, Ends]]:
    """A whole line to a server."""
    ends = Ends()
    server = await asyncio.start_server(ends.serve, "127.0.0.1", 0)
    line = Line("test", "127.0.0.1", server.sockets[0].getsockname()[1])
    async with line.opened():
        yield line, ends
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def calling(line: Line) -> AsyncGenerator[Caller]:
    """A connection over the line."""
    reader, writer = await asyncio.open_connection(line.host, line.port)
    yield Caller(reader, writer)
    writer.transport.abort()


async def test_a_whole_line_carries_everything_both_ways_and_the_end_too() -> None:
    async with a_line() as (line, ends), calling(line) as caller:
        words = bytes(range(256)) * 1000
        assert await caller.say(words) == words
        assert ends.heard == words
        caller.writer.write_eof()
        assert await caller.reader.read() == b""
        await until(lambda: ends.hung_up == 1)


async def test_a_line_that_is_cut_resets_everybody_and_refuses_until_it_is_healed() -> None:
    async with a_line() as (line, ends), calling(line) as caller:
        assert await caller.say(b"a") == b"a"
        line.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await caller.reader.readexactly(1)
        await until(lambda: ends.hung_up == 1)
        async with calling(line) as refused:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await refused.say(b"b")
        line.heal()
        async with calling(line) as again:
            assert await again.say(b"c") == b"c"
    assert ends.heard == b"ac"


async def test_what_hangs_arrives_when_the_line_is_healed() -> None:
    async with a_line() as (line, ends), calling(line) as caller:
        assert await caller.say(b"a") == b"a"
        line.hang()
        caller.writer.write(b"b")
        async with calling(line) as new:
            new.writer.write(b"c")
            hearing = caller.hearing(1)
            # Nothing in between tells either side; a line that carries answers within a few turns.
            async with a_line() as (other, _), calling(other) as witness:
                assert await witness.say(b"x" * 1000) == b"x" * 1000
            assert (ends.heard, hearing.done(), ends.hung_up) == (b"a", False, 0)
            line.heal()
            assert await hearing == b"b"
            assert await new.reader.readexactly(1) == b"c"


async def test_who_loses_answers_is_heard_and_is_reset_when_the_line_is_healed() -> None:
    async with a_line() as (line, ends), calling(line) as caller:
        line.lose_answers()
        caller.writer.write(b"a")
        await until(lambda: ends.heard == b"a")
        await until(lambda: any(pair.is_broken for pair in line._pairs))
        line.heal()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await caller.reader.readexactly(1)
        async with calling(line) as again:
            assert await again.say(b"b") == b"b"


async def test_a_half_open_line_ends_at_the_server_and_the_client_hears_it_when_healed() -> None:
    async with a_line() as (line, ends), calling(line) as caller:
        assert await caller.say(b"a") == b"a"
        line.half_open()
        await until(lambda: ends.hung_up == 1)
        hearing = caller.hearing(1)
        assert not hearing.done()
        line.heal()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await hearing
        async with calling(line) as again:
            assert await again.say(b"b") == b"b"


@pytest.mark.parametrize(("hold", "arrived"), [("ask", b"ab"), ("answer", b"a please b")])
async def test_who_asks_with_the_words_is_held_and_nobody_else(
    hold: Direction, arrived: bytes
) -> None:
    async with a_line() as (line, ends), calling(line) as held, calling(line) as other:
        line.hold_at(b"please", hold)
        assert await held.say(b"a") == b"a"
        held.writer.write(b" please ")
        await line.is_holding.wait()
        hearing = held.hearing(1)
        assert await other.say(b"b") == b"b"
        await until(lambda: ends.heard == arrived)
        assert not hearing.done()
        line.cut_held()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await hearing
        assert await other.say(b"please") == b"please"


async def test_a_delayed_line_carries_everything_in_order() -> None:
    async with a_line() as (line, _), calling(line) as caller:
        line.delay(0.01)
        for words in (b"a" * 100_000, b"b", b"c" * 3000):
            assert await caller.say(words) == words


async def test_a_line_can_lead_to_another_server() -> None:
    async with a_line() as (line, first), a_line() as (_other, second):
        line.lead_to("127.0.0.1", _other._to[1])
        async with calling(line) as caller:
            assert await caller.say(b"a") == b"a"
    assert (first.heard, second.heard) == (b"", b"a")


async def test_a_line_says_since_when_nothing_is_wrong_with_it() -> None:
    async with a_line() as (line, _):
        assert line.is_whole_since(-1.0)
        for hurt in (line.cut, line.hang, line.half_open, line.lose_answers):
            hurt()
            assert not line.is_whole_since(-1.0)
            line.heal()
        line.delay(1.0)
        assert not line.is_whole_since(-1.0)
        line.heal()

        assert line.is_whole_since(-1.0)
        assert not line.is_whole_since(60.0)
