"""That nothing has to be written is acknowledged only of customers as they are now."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from command_side.app import CommandSide
from command_side.commands import (
    BulkRow,
    BulkUpsert,
    CreateCustomer,
    CustomerChanges,
    UpdateCustomer,
)
from events.envelope import CustomerId
from runtime.settings import Settings
from tests.support.builders import an_origin, some_changes
from tests.support.interrupting import InterruptedLog, a_side

ORIGIN = an_origin()

Call: TypeAlias = Callable[[CommandSide, CustomerId, str], Awaitable[object]]


async def update(side: CommandSide, customer_id: CustomerId, name: str) -> None:
    """By its id."""
    command = UpdateCustomer(changes=CustomerChanges(first_name=name))
    await side.handlers.commands.change(customer_id, command, ORIGIN)


async def bulk(side: CommandSide, _: CustomerId, name: str) -> None:
    """As one row."""
    changes = CustomerChanges(first_name=name)
    row = BulkRow(index=0, pointer="/0", external_id="e", changes=changes)
    await side.handlers.bulk.upsert(BulkUpsert(rows=(row,)), ORIGIN)


@pytest.mark.parametrize("call", [update, bulk])
async def test_a_customer_who_changed_since_it_was_read_is_decided_on_again(
    settings: Settings, call: Call
) -> None:
    log = InterruptedLog()
    async with a_side(log, settings) as one, a_side(log, settings) as two:
        changes = some_changes(external_id="e", first_name="Jane")
        made = await one.handlers.commands.create(CreateCustomer(changes=changes), ORIGIN)
        await call(one, made.customer_id, "Jane")
        assert (await log.head()).position == 1

        log.newest_interruption = lambda: call(two, made.customer_id, "Joan")
        await call(one, made.customer_id, "Jane")

    assert (await log.head()).position == 3
