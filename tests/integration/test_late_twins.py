"""A keyed request that comes too late for its own twin is answered like the twin, not refused."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
from msgspec import Raw

from command_side.app import CommandSide
from command_side.bulk import BulkDone
from command_side.commands import (
    BulkRow,
    BulkUpsert,
    CreateCustomer,
    CustomerChanges,
    DeleteCustomer,
    UpdateCustomer,
)
from command_side.errors import CustomerNotFound
from command_side.handler import Terms, Written
from command_side.idempotency import Claim, KeyedRequest
from events.envelope import CustomerId
from runtime.conditions import Conditions, ETags
from runtime.settings import Settings
from tests.support.builders import an_origin, some_changes
from tests.support.interrupting import InterruptedLog, a_side

ORIGIN = an_origin()
RENAMED = CustomerChanges(first_name="Joan")
VERSION_1 = Conditions(if_match=ETags(any=False, strong=frozenset([1])))
CREATE_ONLY = Conditions(if_none_match=ETags(any=True))
SENT_TWICE = KeyedRequest(
    workspace_id=ORIGIN.workspace_id, key=b"k", method=b"M", path=b"/p", query=b"", body=b""
)

Call: TypeAlias = Callable[[CommandSide, CustomerId, Claim | None], Awaitable[Written]]


async def delete(side: CommandSide, customer_id: CustomerId, claim: Claim | None) -> Written:
    """The loser would find nobody."""
    return await side.handlers.commands.change(
        customer_id, DeleteCustomer(), ORIGIN, Terms(claim=claim)
    )


async def update(side: CommandSide, customer_id: CustomerId, claim: Claim | None) -> Written:
    """The loser would find another version."""
    terms = Terms(conditions=VERSION_1, claim=claim)
    return await side.handlers.commands.change(
        customer_id, UpdateCustomer(changes=RENAMED), ORIGIN, terms
    )


async def put(side: CommandSide, _: CustomerId, claim: Claim | None) -> Written:
    """The loser would find somebody."""
    terms = Terms(conditions=CREATE_ONLY, claim=claim)
    return await side.handlers.external.put("new", some_changes(), ORIGIN, terms)


@pytest.mark.parametrize("call", [delete, update, put])
async def test_of_two_that_are_one_the_later_is_answered_like_the_earlier(
    settings: Settings, call: Call
) -> None:
    log = InterruptedLog()
    async with a_side(log, settings) as one, a_side(log, settings) as two:
        made = await one.handlers.commands.create(CreateCustomer(changes=some_changes()), ORIGIN)

        async def send(side: CommandSide) -> Written:
            async def recall(kept: Raw) -> Written:
                return await side.handlers.commands.recall(kept, ORIGIN)

            return await side.handlers.once.run(
                SENT_TWICE, lambda claim: call(side, made.customer_id, claim), recall
            )

        log.receipt_interruption = lambda: send(two)
        later = await send(one)

    assert later.replayed
    assert (await log.head()).position == 2


async def test_an_atomic_bulk_call_that_lost_to_its_twin_is_answered_like_it(
    settings: Settings,
) -> None:
    log = InterruptedLog()
    row = BulkRow(index=0, pointer="/0", external_id="e", changes=RENAMED, if_version=1)
    command = BulkUpsert(rows=(row,), atomic=True)
    async with a_side(log, settings) as one, a_side(log, settings) as two:
        changes = some_changes(external_id="e")
        await one.handlers.commands.create(CreateCustomer(changes=changes), ORIGIN)

        async def send(side: CommandSide) -> BulkDone:
            async def recall(kept: Raw) -> BulkDone:
                return await side.handlers.bulk.recall(kept, lambda _: command.rows, ORIGIN)

            return await side.handlers.once.run(
                SENT_TWICE, lambda claim: side.handlers.bulk.upsert(command, ORIGIN, claim), recall
            )

        log.receipt_interruption = lambda: send(two)
        later = await send(one)

    assert later.replayed
    assert (await log.head()).position == 2


async def test_what_is_refused_for_another_reason_stays_refused(settings: Settings) -> None:
    log = InterruptedLog()
    async with a_side(log, settings) as side:
        made = await side.handlers.commands.create(CreateCustomer(changes=some_changes()), ORIGIN)
        log.receipt_interruption = lambda: delete(side, made.customer_id, None)

        async def recall(_: Raw) -> Written:
            raise AssertionError("there is no receipt")

        with pytest.raises(CustomerNotFound):
            await side.handlers.once.run(
                SENT_TWICE, lambda claim: delete(side, made.customer_id, claim), recall
            )
