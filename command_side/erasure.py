"""Erasing a customer: what a request for it leads to."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
from msgspec import Struct

from command_side.commands import Origin
from command_side.errors import CustomerNotFound
from command_side.handler import Means
from command_side.idempotency import Claim
from events.append import Group, NewReceipt
from events.envelope import CustomerId, Metadata, Position
from events.erasure import Erasure, Erasures
from events.erasure_receipt import Receipt, Retention, receipt_of
from events.errors import LogUnavailable
from runtime.accesses import Access, Action
from runtime.ids import new_id
from runtime.tasks import carried_through


class Erased(Struct, frozen=True, kw_only=True):
    """A customer that is erased, by this request or by an earlier one."""

    receipt: Receipt
    token: str
    """The consistency token of its CustomerErased."""
    replayed: bool = False
    """Whether it was done before, by a request with the same Idempotency-Key."""


class _Kept(Struct, frozen=True, kw_only=True):
    """What the receipt of an Idempotency-Key holds."""

    erased: UUID


class ErasureHandler:
    """Erases customers, live or deleted; who is erased already has the same receipt again."""

    def __init__(
        self,
        means: Means,
        erasures: Erasures,
        retention: Retention,
        *,
        on_appended: Callable[[Position], Awaitable[None]],
    ) -> None:
        self._means = means
        self._erasures = erasures
        self._retention = retention
        self._on_appended = on_appended

    async def require(self, customer_id: CustomerId, origin: Origin) -> None:
        """Raises CustomerNotFound unless the workspace ever had such a customer."""
        found = await self._means.event_log.read_newest(origin.workspace_id, [customer_id])
        if customer_id not in found:
            raise CustomerNotFound

    async def erase(self, customer_id: CustomerId, origin: Origin, claim: Claim | None) -> Erased:
        """Erase a customer. Raises CustomerNotFound, LogUnavailable.

        Who gave the order stands in the log of accesses; the event holds nothing that anybody
        worded.
        """
        metadata = Metadata(api_key_id=origin.api_key_id, traceparent=origin.traceparent)
        receipt = claim and claim.receipt(_Kept(erased=customer_id))
        try:
            async with asyncio.timeout(self._means.wait_seconds):
                # Cut off while it waits for a standby it would count, and be published without one.
                erasure = await carried_through(
                    self._erasures.erase(
                        _access("erasure", customer_id, origin),
                        origin.workspace_id,
                        customer_id,
                        metadata,
                        receipt,
                    )
                )
        except TimeoutError as error:
            raise LogUnavailable(
                "The database is too slow; whether the customer is erased is not known yet."
            ) from error
        if erasure is None:
            raise CustomerNotFound
        if receipt is not None:
            await self._keep(receipt, origin)
        await self._on_appended(erasure.position)
        return self._erased(erasure, origin)

    async def _keep(self, receipt: NewReceipt, origin: Origin) -> None:
        """Who was erased before has no CustomerErased to keep the receipt with."""
        kept = await self._means.event_log.read_receipt(origin.workspace_id, receipt.key_hmac)
        if kept is None:
            group = Group(workspace_id=origin.workspace_id, command_id=new_id(), receipt=receipt)
            await self._means.appender.append(group, self._means.deadline())

    async def recall(self, outcome: msgspec.Raw, origin: Origin) -> Erased:
        """The receipt of an erasure that was done with the same Idempotency-Key."""
        customer_id = CustomerId(msgspec.json.decode(outcome, type=_Kept).erased)
        access = _access("receipt", customer_id, origin)
        erasure = await self._erasures.find(access, origin.workspace_id, customer_id)
        if erasure is None:
            raise CustomerNotFound
        return msgspec.structs.replace(self._erased(erasure, origin), replayed=True)

    def _erased(self, erasure: Erasure, origin: Origin) -> Erased:
        return Erased(
            receipt=receipt_of(erasure, self._retention),
            token=self._means.tokens.issue(
                origin.workspace_id,
                generation=erasure.generation,
                position=erasure.position,
                chain=erasure.chain,
            ),
        )


def _access(action: Action, customer_id: CustomerId, origin: Origin) -> Access:
    return Access(
        action=action,
        workspace_id=origin.workspace_id,
        customer_id=customer_id,
        api_key_id=None if origin.api_key_id is None else UUID(origin.api_key_id),
    )
