"""A bulk call whose customers move while it looks them up: it looks again, and decides anew."""

import pytest
from msgspec import Raw

from command_side.bulk_results import RowDone
from command_side.commands import (
    BulkRow,
    BulkUpsert,
    CreateCustomer,
    CustomerChanges,
    DeleteCustomer,
    UpdateCustomer,
)
from runtime.settings import Settings
from tests.support.builders import an_origin, some_changes
from tests.support.interrupting import InterruptedLog, a_side


def row(index: int, external_id: str, **fields: object) -> BulkRow:
    """A row that names its customer in its changes too, as requests do."""
    changes = some_changes(external_id=external_id, **fields)
    return BulkRow(index=index, pointer=f"/{index}", external_id=external_id, changes=changes)


@pytest.mark.parametrize("change", ["delete", "rename"])
async def test_a_holder_that_goes_while_it_is_looked_up_makes_the_row_a_new_customer(
    settings: Settings, change: str
) -> None:
    log = InterruptedLog()
    origin = an_origin()
    async with a_side(log, settings) as side:
        creation = CreateCustomer(changes=some_changes(external_id="key"))
        first = await side.handlers.commands.create(creation, origin)
        command = (
            DeleteCustomer()
            if change == "delete"
            else UpdateCustomer(changes=CustomerChanges(external_id="renamed"))
        )
        log.interruption = lambda: side.handlers.commands.change(first.customer_id, command, origin)

        done = await side.handlers.bulk.upsert(
            BulkUpsert(rows=(row(0, "key", first_name="Joe"), row(1, "other"))), origin
        )

        statuses = [result.status for result in done.results]
        assert statuses == ["created", "created"]
        made = done.results[0]
        assert isinstance(made, RowDone)
        assert made.id != first.customer_id
        holders = await log.find_reservations(origin.workspace_id, ["key", "renamed"])
        assert holders["key"] == made.id
        assert holders.get("renamed") == (first.customer_id if change == "rename" else None)


async def test_a_key_that_is_taken_while_it_is_looked_up_makes_the_row_an_update(
    settings: Settings,
) -> None:
    log = InterruptedLog()
    origin = an_origin()
    async with a_side(log, settings) as side:
        creation = CreateCustomer(
            changes=some_changes(external_id="key", custom_fields={"a": Raw(b"1")})
        )
        log.interruption = lambda: side.handlers.commands.create(creation, origin)

        done = await side.handlers.bulk.upsert(
            BulkUpsert(rows=(row(0, "key", custom_fields={"b": Raw(b"2")}),)), origin
        )

        assert [result.status for result in done.results] == ["updated"]
        assert (await log.head()).position == 2
