"""Runs the command of a request once, and answers it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec
from litestar import Response
from msgspec import Struct

from command_side.bulk import BulkHandler
from command_side.erasure import ErasureHandler
from command_side.external import ExternalHandler
from command_side.handler import Action, CommandHandler, Terms, Written
from command_side.idempotency import Idempotency
from command_side.requests import WriteRequest
from runtime.web.conditions import etag
from runtime.web.envelope import BASE_PATH, success
from runtime.web.ignored import warnings_meta
from runtime.web.preferences import note_handling
from runtime.web.problems import AnyRequest

_MESSAGES: Final[Mapping[Action, str]] = {
    "created": "Customer created successfully",
    "updated": "Customer updated successfully",
    "deleted": "Customer deleted successfully",
    "restored": "Customer restored successfully",
}


class Handlers(Struct, frozen=True, kw_only=True):
    """What the routes run commands with.

    One dependency of theirs, not several: for those the framework starts a group of tasks.
    """

    commands: CommandHandler
    external: ExternalHandler
    bulk: BulkHandler
    erasure: ErasureHandler
    once: Idempotency


async def answer_once(
    request: AnyRequest,
    asked: WriteRequest,
    handlers: Handlers,
    run: Callable[[Terms], Awaitable[Written]],
) -> Response[bytes]:
    """Run a command on one customer and answer it; a repeated request gets the first answer."""
    written = await handlers.once.run(
        asked.keyed,
        lambda claim: run(asked.terms(claim)),
        lambda kept: handlers.commands.recall(kept, asked.origin),
    )
    return _answer_written(request, written, asked.warnings)


def about_write(token: str | None, *, replayed: bool) -> dict[str, str]:
    """The headers that every write has, where they have something to say."""
    headers: dict[str, str] = {}
    if token is not None:
        headers["X-Consistency-Token"] = token
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return headers


def _answer_written(
    request: AnyRequest, written: Written, warnings: Sequence[str]
) -> Response[bytes]:
    headers = {"ETag": etag(written.version)}
    if written.action == "created":
        headers["Location"] = f"{BASE_PATH}/customers/{written.customer_id}"
    if written.replayed:
        note_handling(request.scope, is_strict=written.is_strict)
    data = written.document
    if data is None:
        data = msgspec.json.encode({"id": written.customer_id})
    return success(
        request.scope,
        data,
        message=_MESSAGES[written.action],
        meta=warnings_meta(warnings),
        headers=headers | about_write(written.token, replayed=written.replayed),
    )
