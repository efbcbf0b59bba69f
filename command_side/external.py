"""Customers addressed by the client's own id: whoever holds it at the moment the command runs."""

from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from command_side.commands import (
    CreateCustomer,
    CustomerChanges,
    DeleteCustomer,
    Origin,
    UpdateCustomer,
)
from command_side.deadline import Deadline
from command_side.errors import CustomerNotFound, ExternalIdTaken, TooBusy
from command_side.handler import ATTEMPTS_MAX, CommandHandler, Means, Moved, Terms, Written
from events.envelope import CustomerId
from runtime.field_error import FieldError

_WORDS: Final = "Differs from the external_id in the path; leave it out, or send the same."


class ExternalHandler:
    """Runs commands on the customer that holds an external_id."""

    def __init__(self, means: Means, commands: CommandHandler) -> None:
        self._means = means
        self._commands = commands

    async def put(
        self, external_id: str, changes: CustomerChanges, origin: Origin, terms: Terms
    ) -> Written:
        """Change the holder, or make one. Raises Rejection, LogUnavailable, AlreadyDone.

        Of two that find nobody, one creates and the other changes what that one created.
        """
        update = UpdateCustomer(changes=changes)
        creation = CreateCustomer(changes=replace(changes, external_id=external_id))
        deadline = self._means.deadline()
        for _ in range(ATTEMPTS_MAX):
            holder = await self._find(external_id, origin, deadline)
            try:
                if holder is None:
                    return await self._commands.create(creation, origin, terms, deadline=deadline)
                return await self._commands.change(
                    holder, update, origin, terms, held=external_id, deadline=deadline
                )
            except (ExternalIdTaken, Moved):
                # Made, deleted or renamed since it was looked up: look again.
                continue
        raise TooBusy

    async def delete(self, external_id: str, origin: Origin, terms: Terms) -> Written:
        """Delete the holder. Raises Rejection, LogUnavailable, AlreadyDone."""
        deadline, command = self._means.deadline(), DeleteCustomer()
        for _ in range(ATTEMPTS_MAX):
            holder = await self._find(external_id, origin, deadline)
            if holder is None:
                raise CustomerNotFound("external_id")
            try:
                return await self._commands.change(
                    holder, command, origin, terms, held=external_id, deadline=deadline
                )
            except Moved:
                continue
        raise TooBusy

    async def _find(
        self, external_id: str, origin: Origin, deadline: Deadline
    ) -> CustomerId | None:
        log = self._means.event_log
        async with deadline.ends():
            holders = await log.find_reservations(origin.workspace_id, [external_id])
        return holders.get(external_id)


def external_id_errors(external_id: str, changes: CustomerChanges) -> tuple[FieldError, ...]:
    """What is wrong when the body names another external_id than the path, or none with null."""
    if changes.external_id is UNSET or changes.external_id == external_id:
        return ()
    error = FieldError(
        field="external_id", error=_WORDS, code="other_external_id", pointer="/external_id"
    )
    return (error,)
