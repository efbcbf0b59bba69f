"""Everything that is known of one person, for operators: as the API tells it, of any workspace."""

from collections.abc import AsyncGenerator
from typing import Final

from events.envelope import CustomerId
from events.errors import EventsError
from events.history import HistoryLog
from events.keys import Keyring
from events.walk import Wanted
from query_side.personal_data import Erased, PersonalData
from runtime.failure import Failure
from runtime.operators.log import OpenedLog
from runtime.postgres import Role, make_pool
from runtime.settings import Settings, read_master_keys

_NAME: Final = "customers export person"


async def export_person(settings: Settings, customer_id: CustomerId) -> AsyncGenerator[bytes]:
    """One JSON object, piece by piece, once it is recorded that somebody reads it.

    Refuses a customer that was erased, and one with an event that cannot be opened.
    """
    wanted = await OpenedLog(settings).admit("export", Wanted(customer_id=customer_id))
    assert wanted.workspace_id is not None, "every customer has one"  # noqa: S101 - a type guard
    async with make_pool(settings, Role.RELAY, _NAME, size=1) as pool:
        history_log = HistoryLog(pool, settings.log_id)
        personal_data = PersonalData(history_log, Keyring(read_master_keys(settings)), pool)
        try:
            found = await personal_data.find(wanted.workspace_id, customer_id)
            if found is None or isinstance(found, Erased):
                raise Failure(
                    "This customer was erased: nothing is known any more but that and when.",
                    f"customers erasures --customer {customer_id}",
                )
            async for piece in personal_data.pieces(found):
                yield piece
            yield b"\n"
        except EventsError as error:
            raise Failure(
                f"Not all that is known can be told: {error}",
                f"customers replay --customer {customer_id}, which tells the rest",
            ) from error
