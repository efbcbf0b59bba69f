"""A line between a service and its database, which a test can stop or cut at the right moment."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

from msgspec.structs import replace
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.settings import Settings

Direction: TypeAlias = Literal["ask", "answer"]


class DatabaseLine:
    """Lets bytes through both ways, until a question goes through that holds some words.

    From then on that one connection is held: the question itself (`ask`) never arrives, or it
    arrives and its answer (`answer`) never does.
    """

    def __init__(self, host: str, port: int, words: bytes, hold: Direction) -> None:
        self._host = host
        self._port = port
        self._words = words
        self._hold = hold
        self._writers: list[asyncio.StreamWriter] = []
        self._held: list[asyncio.StreamWriter] = []
        self.is_holding = asyncio.Event()
        self.is_armed = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it."""
        server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        ends = [writer, server_writer]
        self._writers += ends
        is_held = asyncio.Event()
        answering = asyncio.create_task(self._pass_on(server_reader, writer, is_held))
        try:
            while chunk := await reader.read(65536):
                if self.is_armed and self._words in chunk:
                    self.is_armed = False
                    self._held = ends
                    is_held.set()
                    self.is_holding.set()
                if self._hold == "answer" or not is_held.is_set():
                    server_writer.write(chunk)
                    await server_writer.drain()
        except ConnectionError:
            pass
        finally:
            if not is_held.is_set():
                for end in ends:
                    end.close()
            await answering

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_held: asyncio.Event
    ) -> None:
        try:
            while chunk := await reader.read(65536):
                if not is_held.is_set():
                    writer.write(chunk)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        """Break the connection that is held."""
        for writer in self._held:
            writer.close()

    def close(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def database_line(
    settings: Settings, *, words: bytes, hold: Direction
) -> AsyncGenerator[tuple[DatabaseLine, Settings]]:
    """A line to the database of these settings, and settings of a service that uses it.

    Statements are not prepared, so that a question with its words goes out in one piece.
    """
    target = conninfo_to_dict(settings.database_url)
    line = DatabaseLine(str(target["host"]), int(str(target["port"])), words, hold)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = make_conninfo(settings.database_url, host="127.0.0.1", port=port)
    try:
        yield line, replace(settings, database_url=url, prepared_statements=False)
    finally:
        server.close()
        line.close()
        await server.wait_closed()
