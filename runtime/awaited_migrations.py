"""A process of a newer version than its database waits until somebody has migrated that."""

import asyncio
from typing import Final

import psycopg
import structlog

from runtime.lifecycle import run_until_told
from runtime.postgres import Role, connect
from runtime.schema import migration_names
from runtime.settings import Settings

_MISSING: Final = "SELECT control.missing_migrations(%s)"
_LOOK_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 5.0

log = structlog.get_logger()


async def await_migrations(settings: Settings, role: Role, name: str) -> bool:
    """Return when the database has every migration of this version, or does not answer.

    A process begins without a database too, and then does not know how old that is. Whether it is
    to begin: not when SIGTERM or SIGINT comes first.
    """
    return await run_until_told(_await_migrations(settings, role, name))


async def _await_migrations(settings: Settings, role: Role, name: str) -> None:
    told: list[str] | None = None
    while True:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                missing = await _missing(settings, role, name)
        except (psycopg.OperationalError, TimeoutError):
            return
        if not missing:
            return
        if missing != told:
            log.warning("database.older", missing=missing, mend="customers migrate")
            told = missing
        await asyncio.sleep(_LOOK_SECONDS)


async def _missing(settings: Settings, role: Role, name: str) -> list[str]:
    wanted = migration_names()
    async with await connect(settings, role, name) as connection:
        try:
            row = await (await connection.execute(_MISSING, [wanted])).fetchone()
        except (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName):
            # From before anybody could be asked.
            return wanted
    assert row is not None, "a function of one result"  # noqa: S101 - a type guard
    return row[0]
