"""A customer that moves while it is looked up by its external_id: it is looked up again."""

import pytest

from command_side.commands import CreateCustomer, CustomerChanges, DeleteCustomer, UpdateCustomer
from command_side.errors import CustomerNotFound, TooBusy, VersionMismatch
from command_side.handler import Terms
from runtime.conditions import Conditions, ETags
from runtime.settings import Settings
from tests.support.builders import an_origin, some_changes
from tests.support.interrupting import InterruptedLog, a_side

ORIGIN = an_origin()
CREATION = CreateCustomer(changes=some_changes(external_id="key"))
RENAMING = UpdateCustomer(changes=CustomerChanges(external_id="renamed"))


@pytest.mark.parametrize("change", [DeleteCustomer(), RENAMING])
async def test_a_holder_that_goes_meanwhile_is_made_anew_by_put(
    settings: Settings, change: DeleteCustomer | UpdateCustomer
) -> None:
    log = InterruptedLog()
    async with a_side(log, settings) as side:
        first = await side.handlers.commands.create(CREATION, ORIGIN)
        log.interruption = lambda: side.handlers.commands.change(first.customer_id, change, ORIGIN)

        written = await side.handlers.external.put("key", some_changes(), ORIGIN, Terms())

        assert (written.action, written.version) == ("created", 1)
        assert written.customer_id != first.customer_id
        holders = await log.find_reservations(ORIGIN.workspace_id, ["key"])
        assert holders == {"key": written.customer_id}


async def test_one_that_comes_meanwhile_is_updated_by_put(settings: Settings) -> None:
    log = InterruptedLog()
    async with a_side(log, settings) as side:
        log.interruption = lambda: side.handlers.commands.create(CREATION, ORIGIN)

        changes = some_changes(first_name="Jane")
        written = await side.handlers.external.put("key", changes, ORIGIN, Terms())

        assert (written.action, written.version) == ("updated", 2)


async def test_one_that_comes_meanwhile_is_not_what_create_only_is_meant_for(
    settings: Settings,
) -> None:
    log = InterruptedLog()
    only = Terms(conditions=Conditions(if_none_match=ETags(any=True)))
    async with a_side(log, settings) as side:
        log.interruption = lambda: side.handlers.commands.create(CREATION, ORIGIN)

        with pytest.raises(VersionMismatch) as caught:
            await side.handlers.external.put("key", some_changes(first_name="Jane"), ORIGIN, only)

        assert caught.value.current_version == 1
        assert (await log.head()).position == 1


@pytest.mark.parametrize("change", [DeleteCustomer(), RENAMING])
async def test_a_holder_that_goes_meanwhile_is_not_deleted(
    settings: Settings, change: DeleteCustomer | UpdateCustomer
) -> None:
    log = InterruptedLog()
    async with a_side(log, settings) as side:
        first = await side.handlers.commands.create(CREATION, ORIGIN)
        log.interruption = lambda: side.handlers.commands.change(first.customer_id, change, ORIGIN)

        with pytest.raises(CustomerNotFound):
            await side.handlers.external.delete("key", ORIGIN, Terms())

        assert (await log.head()).position == 2


async def test_one_that_never_stands_still_is_given_up_without_a_change(
    settings: Settings,
) -> None:
    log = InterruptedLog()
    async with a_side(log, settings) as side:

        async def come_or_go() -> None:
            log.interruption = come_or_go
            holders = await log.find_quietly(ORIGIN.workspace_id, "key")
            if holders is None:
                await side.handlers.commands.create(CREATION, ORIGIN)
            else:
                await side.handlers.commands.change(holders, DeleteCustomer(), ORIGIN)

        log.interruption = come_or_go
        changes = some_changes(first_name="Jane")
        with pytest.raises(TooBusy):
            await side.handlers.external.put("key", changes, ORIGIN, Terms())

        log.interruption = None
        assert (await log.head()).position == 10
