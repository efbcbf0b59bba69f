"""Idempotency-Key: a write that was sent twice is done once, and answered twice.

What a key led to is kept as a receipt, which commits together with the events of the command. So
whatever breaks down between the commit and the answer, the same request sent again finds it.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from command_side.errors import IdempotencyKeyReused, Rejection, RequestInProgress
from events.append import AppendLog, NewReceipt, Replayed
from events.envelope import WorkspaceId
from events.receipts import ReceiptHasher

Done = TypeVar("Done")


class KeyedRequest(Struct, frozen=True, kw_only=True):
    """A request with an Idempotency-Key: what the key is valid for, and what must be the same."""

    workspace_id: WorkspaceId
    key: bytes
    method: bytes
    path: bytes
    query: bytes
    body: bytes | None
    """None for one that is too long to be read: it was never accepted before."""


class Claim(Struct, frozen=True, kw_only=True):
    """What the receipt of a keyed request is kept under."""

    workspace_id: WorkspaceId
    key_hmac: bytes
    payload_hmac: bytes

    def receipt(self, outcome: object) -> NewReceipt:
        """The receipt of this outcome, which must hold nothing of a person."""
        return NewReceipt(
            key_hmac=self.key_hmac,
            payload_hmac=self.payload_hmac,
            outcome=msgspec.json.encode(outcome),
        )


class AlreadyDone(Exception):
    """A request with the same key was done before: its receipt. Nothing was written now.

    Never told to a client.
    """

    def __init__(self, kept: Replayed) -> None:
        super().__init__("The request was done before.")
        self.kept = kept


class Idempotency:
    """Runs a request once for its key, and answers from the receipt ever after."""

    def __init__(self, event_log: AppendLog, hasher: ReceiptHasher) -> None:
        self._log = event_log
        self._hasher = hasher
        self._running: set[tuple[WorkspaceId, bytes]] = set()

    async def run(
        self,
        request: KeyedRequest | None,
        work: Callable[[Claim | None], Awaitable[Done]],
        recall: Callable[[Raw], Awaitable[Done]],
    ) -> Done:
        """What `work` does, or what `recall` makes of the receipt of an earlier success.

        `work` must let its receipt commit with its events. Raises RequestInProgress,
        IdempotencyKeyReused, and what the two raise; a request that was refused left no receipt,
        and is decided anew.
        """
        if request is None:
            return await work(None)
        claim = await self._claim(request)
        try:
            return await self._run_once(claim, work)
        except AlreadyDone as earlier:
            kept = earlier.kept
        # Of a customer who was erased since, nothing is left to compare with.
        is_known = kept.payload_hmac in {b"", claim.payload_hmac}
        if request.body is None or not is_known:
            raise IdempotencyKeyReused
        return await recall(kept.outcome)

    async def _run_once(
        self, claim: Claim, work: Callable[[Claim | None], Awaitable[Done]]
    ) -> Done:
        running = (claim.workspace_id, claim.key_hmac)
        if running in self._running:
            await self._raise_if_done(claim)
            raise RequestInProgress
        with self._alone(running):
            await self._raise_if_done(claim)
            try:
                return await work(claim)
            except Rejection:
                # What refuses it may be what its own first sending did meanwhile.
                await self._raise_if_done(claim)
                raise

    async def _raise_if_done(self, claim: Claim) -> None:
        kept = await self._log.read_receipt(claim.workspace_id, claim.key_hmac)
        if kept is not None:
            raise AlreadyDone(kept)

    async def _claim(self, request: KeyedRequest) -> Claim:
        scope = (request.method, request.path, request.key)
        payload = (request.query, request.body or b"")
        return Claim(
            workspace_id=request.workspace_id,
            key_hmac=await self._hasher.hash("idempotency key", *scope),
            payload_hmac=await self._hasher.hash("idempotency payload", *payload),
        )

    @contextmanager
    def _alone(self, running: tuple[WorkspaceId, bytes]) -> Generator[None]:
        self._running.add(running)
        try:
            yield
        finally:
            self._running.discard(running)
