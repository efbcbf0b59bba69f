"""Customers that the read model has parked, for one operator: seen, and tried again."""

from collections.abc import Collection

from msgspec import Struct

from events.envelope import CustomerId, Position, WorkspaceId
from events.keys import Keyring
from projections.failures import list_failures, retry_failure
from projections.rebuild_record import list_editions
from runtime.clock import format_time
from runtime.failure import Failure
from runtime.postgres import connect
from runtime.settings import Settings, read_master_keys

_NAME = "customers projections"


class ParkedInEdition(Struct, frozen=True, kw_only=True):
    """A customer that an edition of the read model shows as it was before some event."""

    edition: int
    is_live: bool
    workspace_id: WorkspaceId
    customer_id: CustomerId
    position: Position
    """Of the first event that could not be taken."""
    reason: str
    stack: str
    """May quote the customer."""
    parked_at: str


class Retried(Struct, frozen=True, kw_only=True):
    """A parked customer that was tried again."""

    failure: ParkedInEdition
    reason: str | None
    """Why it is parked still; None: it is up to date."""


async def read_parked(settings: Settings) -> list[ParkedInEdition]:
    """All parked customers, edition by edition; needs the owner's rights."""
    found: list[ParkedInEdition] = []
    async with await connect(settings, None, _NAME) as connection:
        for edition in await list_editions(connection, settings.log_id):
            found += [
                ParkedInEdition(
                    edition=edition.edition,
                    is_live=edition.live,
                    workspace_id=failure.workspace_id,
                    customer_id=failure.customer_id,
                    position=failure.position,
                    reason=failure.reason,
                    stack=failure.stack,
                    parked_at=format_time(failure.parked_at),
                )
                for failure in await list_failures(connection, edition.edition, settings.log_id)
            ]
    return found


async def retry_parked(settings: Settings, customers: Collection[CustomerId]) -> list[Retried]:
    """Try these parked customers again, or all of them, in every edition that has parked them.

    Raises Failure when one of them is not parked; KeyUnavailable.
    """
    keyring = Keyring(read_master_keys(settings))
    parked = await read_parked(settings)
    strangers = set(customers) - {failure.customer_id for failure in parked}
    if strangers:
        raise Failure(
            f"Customer {min(strangers, key=str)} is not parked.", "customers projections failures"
        )
    wanted = [one for one in parked if not customers or one.customer_id in customers]
    retried: list[Retried] = []
    async with await connect(settings, None, _NAME) as connection:
        for failure in wanted:
            still = await retry_failure(
                connection,
                keyring,
                failure.edition,
                settings.log_id,
                failure.workspace_id,
                failure.customer_id,
            )
            retried.append(Retried(failure=failure, reason=still and still.reason))
    return retried
