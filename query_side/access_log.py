"""Who reads what was is recorded first: without that nothing is given."""

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from events.envelope import CustomerId
from runtime.accesses import Access, Action, record_access
from runtime.api_keys import Principal
from runtime.postgres import Pool, ask

log = structlog.get_logger()


class AccessNotRecorded(Exception):
    """The log of accesses did not take an access, so nothing is given."""

    def __init__(self) -> None:
        super().__init__(
            "Who reads this is recorded first, and that is not possible at the moment. Try again."
        )


class AccessLog:
    """Records what the keys of workspaces read."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(
        self, principal: Principal, action: Action, customer_id: CustomerId | None
    ) -> None:
        """Record an access to one customer, or to all of the workspace.

        Raises AccessNotRecorded.
        """
        access = Access(
            action=action,
            workspace_id=principal.workspace_id,
            customer_id=customer_id,
            api_key_id=principal.key_id,
        )

        async def record(connection: AsyncConnection[TupleRow]) -> None:
            await record_access(connection, access)

        try:
            # Asked twice when a connection broke: better two entries than none.
            await ask(self._pool, record)
        except psycopg.Error as error:
            log.exception("access.not_recorded", action=action)
            raise AccessNotRecorded from error
