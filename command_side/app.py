"""The command side as one part of an API process: its collaborators, its routes, its refusals."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from msgspec import Struct

from command_side.appender import Appender
from command_side.bulk import BulkHandler
from command_side.errors import Rejection
from command_side.handler import CommandHandler
from command_side.locks import CustomerLocks
from command_side.refusals import log_away, refuse
from command_side.routes import ROUTES
from events.append import AppendLog
from events.envelope import Position
from events.errors import LogUnavailable
from events.keys import Keyring
from runtime.web.frame import Part


class CommandSide(Struct, frozen=True, kw_only=True):
    """What an API process needs to take writes."""

    appender: Appender
    commands: CommandHandler
    bulk: BulkHandler

    def part(self) -> Part:
        """The routes, with what they ask for and how they refuse."""
        return Part(
            routes=ROUTES,
            dependencies={"commands": self.commands, "bulk": self.bulk},
            refusals={Rejection: refuse, LogUnavailable: log_away},
        )


@asynccontextmanager
async def command_side(
    event_log: AppendLog,
    keyring: Keyring,
    *,
    on_appended: Callable[[Position], Awaitable[None]],
    wait_seconds: float,
) -> AsyncGenerator[CommandSide]:
    """A command side that appends until the block ends, and then what is still queued."""
    appender = Appender(event_log, on_appended=on_appended, wait_seconds=wait_seconds)
    locks = CustomerLocks()
    running = asyncio.create_task(appender.run())
    try:
        yield CommandSide(
            appender=appender,
            commands=CommandHandler(event_log, appender, keyring, locks),
            bulk=BulkHandler(event_log, appender, keyring, locks),
        )
    finally:
        appender.close()
        with suppress(asyncio.CancelledError):
            await running
