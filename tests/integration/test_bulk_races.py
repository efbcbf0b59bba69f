"""A bulk call whose customers move while it looks them up: it looks again, and decides anew."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec import Raw

from command_side.app import CommandSide, command_side
from command_side.bulk import RowDone
from command_side.commands import (
    BulkRow,
    BulkUpsert,
    CreateCustomer,
    CustomerChanges,
    DeleteCustomer,
    UpdateCustomer,
)
from events.envelope import CustomerId, Position, WorkspaceId
from events.keys import Keyring
from events.memory_log import MemoryLog
from tests.support.builders import an_origin, some_changes


class InterruptedLog(MemoryLog):
    """A log on which something happens right after external_ids were looked up, once."""

    def __init__(self) -> None:
        super().__init__()
        self.interruption: Callable[[], Awaitable[object]] | None = None

    async def find_reservations(
        self, workspace_id: WorkspaceId, external_ids: list[str]
    ) -> dict[str, CustomerId]:
        """The holders as they are now; then the interruption."""
        found = await super().find_reservations(workspace_id, external_ids)
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            await interruption()
        return found


@asynccontextmanager
async def a_side(log: MemoryLog, keyring: Keyring) -> AsyncGenerator[CommandSide]:
    """A command side on a log in memory."""

    async def nobody(_: Position) -> None:
        """Nobody is told."""

    async with command_side(log, keyring, on_appended=nobody, wait_seconds=10) as side:
        yield side


def row(index: int, external_id: str, **fields: object) -> BulkRow:
    """A row that names its customer in its changes too, as requests do."""
    changes = some_changes(external_id=external_id, **fields)
    return BulkRow(index=index, pointer=f"/{index}", external_id=external_id, changes=changes)


@pytest.mark.parametrize("change", ["delete", "rename"])
async def test_a_holder_that_goes_while_it_is_looked_up_makes_the_row_a_new_customer(
    keyring: Keyring, change: str
) -> None:
    log = InterruptedLog()
    origin = an_origin()
    async with a_side(log, keyring) as side:
        creation = CreateCustomer(changes=some_changes(external_id="key"))
        first = await side.commands.create(creation, origin)
        command = (
            DeleteCustomer()
            if change == "delete"
            else UpdateCustomer(changes=CustomerChanges(external_id="renamed"))
        )
        log.interruption = lambda: side.commands.change(first.customer_id, command, origin)

        done = await side.bulk.upsert(
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
    keyring: Keyring,
) -> None:
    log = InterruptedLog()
    origin = an_origin()
    async with a_side(log, keyring) as side:
        creation = CreateCustomer(
            changes=some_changes(external_id="key", custom_fields={"a": Raw(b"1")})
        )
        log.interruption = lambda: side.commands.create(creation, origin)

        done = await side.bulk.upsert(
            BulkUpsert(rows=(row(0, "key", custom_fields={"b": Raw(b"2")}),)), origin
        )

        assert [result.status for result in done.results] == ["updated"]
        assert (await log.head()).position == 2
