"""A line between a service and its database, which a test can hold and cut at the right moment."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from msgspec.structs import replace
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.settings import Settings
from tests.faults.lines import Direction, Line

__all__ = ["Direction", "database_line"]


@asynccontextmanager
async def database_line(
    settings: Settings, *, words: bytes, hold: Direction
) -> AsyncGenerator[tuple[Line, Settings]]:
    """A line to the database of these settings, and settings of a service that uses it.

    The first connection that asks something with these words is held. Statements are not prepared,
    so that a question with its words goes out in one piece.
    """
    target = conninfo_to_dict(settings.database_url)
    line = Line("database", str(target["host"]), int(str(target["port"])))
    line.hold_at(words, hold)
    async with line.opened():
        url = make_conninfo(settings.database_url, host=line.host, port=line.port)
        yield line, replace(settings, database_url=url, prepared_statements=False)
