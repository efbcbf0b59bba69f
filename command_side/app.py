"""The command side as one part of an API process: its collaborators, its routes, its refusals."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from command_side import bulk_routes, erasure_routes, external_routes, routes
from command_side.answers import Handlers
from command_side.append_watch import AppendWatch
from command_side.appender import Appender
from command_side.bulk import BulkHandler
from command_side.erasure import ErasureHandler
from command_side.errors import Rejection
from command_side.external import ExternalHandler
from command_side.handler import CommandHandler, Means
from command_side.idempotency import Idempotency
from command_side.locks import CustomerLocks
from command_side.openapi import DESCRIPTION
from command_side.refusals import answer_log_unavailable, refuse
from events.append import AppendLog
from events.envelope import Position
from events.erasure import Erasures
from events.erasure_receipt import Retention
from events.errors import LogUnavailable, UnknownEvent
from events.keys import Keyring
from events.receipts import ReceiptHasher, prune_receipts
from events.token import Tokens
from runtime.tasks import end
from runtime.web.frame import Part
from runtime.web.problems import answer_newer_version

ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    *routes.ROUTES,
    *external_routes.ROUTES,
    *bulk_routes.ROUTES,
    *erasure_routes.ROUTES,
)


class CommandSide(Struct, frozen=True, kw_only=True):
    """What an API process needs to take writes."""

    appender: Appender
    handlers: Handlers

    def part(self) -> Part:
        """The routes, with what they ask for and how they refuse."""
        return Part(
            routes=ROUTES,
            dependencies={"handlers": self.handlers},
            refusals={
                Rejection: refuse,
                LogUnavailable: answer_log_unavailable,
                UnknownEvent: answer_newer_version,
            },
            description=DESCRIPTION,
        )


@asynccontextmanager
async def command_side(
    event_log: AppendLog,
    erasures: Erasures,
    keyring: Keyring,
    tokens: Tokens,
    *,
    retention: Retention,
    on_appended: Callable[[Position], Awaitable[None]],
    wait_seconds: float,
    receipt_days: int,
    payload_max: int,
    watch: AppendWatch | None = None,
) -> AsyncGenerator[CommandSide]:
    """A command side that appends until the block ends, and then what is still queued."""
    if watch is None:
        appender = Appender(event_log, on_appended=on_appended)
    else:
        appender = Appender(event_log, on_appended=on_appended, on_batch=watch.appended)
        watch.measure_queue(appender)
    means = Means(
        event_log=event_log,
        appender=appender,
        keyring=keyring,
        locks=CustomerLocks(),
        tokens=tokens,
        wait_seconds=wait_seconds,
        payload_max=payload_max,
    )
    commands = CommandHandler(means)
    running = asyncio.create_task(appender.run())
    pruning = asyncio.create_task(prune_receipts(event_log, receipt_days))
    try:
        yield CommandSide(
            appender=appender,
            handlers=Handlers(
                commands=commands,
                external=ExternalHandler(means, commands),
                bulk=BulkHandler(means),
                erasure=ErasureHandler(means, erasures, retention, on_appended=on_appended),
                once=Idempotency(event_log, ReceiptHasher(event_log, keyring)),
            ),
        )
    finally:
        appender.close()
        await running
        await end(pruning)
