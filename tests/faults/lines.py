"""Lines between the parts of a system, which can be cut, delayed, left hanging, or lose answers."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal, TypeAlias

from runtime.tasks import end
from tests.support.signals import lapse

Direction: TypeAlias = Literal["ask", "answer"]

_CHUNK_BYTES: Final = 65536


class Line:
    """A port on loopback that leads to a server, as well as the line allows.

    Whole at first. Cut: every connection is reset, and new ones are at once. Delayed: every piece
    is late. Hanging: connections stand, new ones are taken, and nothing arrives either way. Half
    open: the server is told that its clients have gone, and these are told nothing. Losing answers:
    what is asked arrives, and no answer comes back. Healed, what hung goes on where it was; whoever
    lost an answer or its other half is reset, for the bytes would no longer fit together.

    A single connection can be held too, from the moment on at which it asks something.
    """

    def __init__(self, name: str, host: str, port: int) -> None:
        self.name = name
        self.host = "127.0.0.1"
        self.port = 0
        self._to = (host, port)
        self._is_cut = self._is_deaf = False
        self._late_seconds = 0.0
        self._moves = asyncio.Event()
        self._moves.set()
        self._pairs: set[_Pair] = set()
        self._healed_at = time.monotonic()
        self._serving: set[asyncio.Task[None]] = set()
        self._words = b""
        self._hold: Direction = "ask"
        self.is_holding = asyncio.Event()
        """Set once a connection is held."""

    @property
    def connections(self) -> int:
        """How many stand now."""
        return len(self._pairs)

    def is_whole_since(self, seconds: float) -> bool:
        """Whether nothing has been wrong with it for so long."""
        is_hurt = self._is_cut or self._is_deaf or self._late_seconds or not self._moves.is_set()
        return not is_hurt and time.monotonic() - self._healed_at > seconds

    def lead_to(self, host: str, port: int) -> None:
        """Lead to another server from now on; connections that stand stay where they are."""
        self._to = (host, port)

    def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._is_cut = True
        for pair in tuple(self._pairs):
            pair.reset()

    def delay(self, seconds: float) -> None:
        """Let every piece arrive so much later."""
        self._late_seconds = seconds

    def hang(self) -> None:
        """Let nothing arrive, as when a cable is pulled: nobody is told."""
        self._moves.clear()

    def half_open(self) -> None:
        """Tell the server that its clients have gone, and these nothing."""
        self.hang()
        for pair in tuple(self._pairs):
            pair.reset_far()

    def lose_answers(self) -> None:
        """Let everything arrive, and no answer."""
        self._is_deaf = True

    def hold_at(self, words: bytes, hold: Direction) -> None:
        """Hold the next connection that asks something with these words, from then on.

        The question itself (`ask`) never arrives, or it arrives and its answer (`answer`) never
        does; neither side is told.
        """
        self._words, self._hold = words, hold

    def cut_held(self) -> None:
        """Break the connection that is held."""
        for pair in tuple(self._pairs):
            if pair.is_held:
                pair.reset()

    def heal(self) -> None:
        """Make the line whole again."""
        for pair in tuple(self._pairs):
            if pair.is_broken:
                pair.reset()
        self._is_cut = self._is_deaf = False
        self._late_seconds = 0.0
        self._moves.set()
        self._healed_at = time.monotonic()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator["Line"]:
        """Take connections until the block ends."""
        server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await end(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with suppress(asyncio.CancelledError):
                await self._join(reader, writer)
        finally:
            writer.transport.abort()
            self._serving.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            return
        await self._moves.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            return
        pair = _Pair(writer, far_writer)
        self._pairs.add(pair)
        there = asyncio.create_task(self._carry(reader, far_writer, pair, is_answer=False))
        back = asyncio.create_task(self._carry(far_reader, writer, pair, is_answer=True))
        try:
            await asyncio.wait({there, back})
        finally:
            self._pairs.discard(pair)
            await end(there, back)
            pair.reset()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: "_Pair",
        *,
        is_answer: bool,
    ) -> None:
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                if self._late_seconds:
                    await lapse(self._late_seconds)
                await self._moves.wait()
                if not is_answer:
                    self._look_for_words(chunk, pair)
                if pair.is_held and (is_answer or self._hold == "ask"):
                    continue
                if is_answer and self._is_deaf:
                    pair.is_broken = True
                    continue
                writer.write(chunk)
                await writer.drain()
            await self._moves.wait()
            if not pair.is_held and writer.can_write_eof():
                # One side has said all it had to say; the other may still answer.
                writer.write_eof()
        except OSError:
            # Who has gone takes the other side along, but not while nobody is told anything.
            await self._moves.wait()
            if not pair.is_held:
                pair.reset()

    def _look_for_words(self, chunk: bytes, pair: "_Pair") -> None:
        if self._words and self._words in chunk:
            self._words = b""
            pair.is_held = True
            self.is_holding.set()


class _Pair:
    """The two ends of one connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._near = near
        self._far = far
        self.is_broken = False
        self.is_held = False

    def reset(self) -> None:
        """Break it, so that both sides are told."""
        self._near.transport.abort()
        self._far.transport.abort()

    def reset_far(self) -> None:
        """Break the server's side alone; whoever asked finds out when the line is whole."""
        self.is_broken = True
        self._far.transport.abort()
