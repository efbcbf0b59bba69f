"""One function per question to the read model; each is one round trip and one snapshot."""

from collections.abc import Sequence
from typing import Final, LiteralString

import psycopg
from msgspec import Struct
from psycopg import sql
from psycopg.rows import TupleRow

from events.envelope import CustomerId, Position, WorkspaceId
from events.gathering import Gathering
from events.log import LOOK_UP_SECONDS
from query_side.list_query import ListQuery
from query_side.results import CustomerPage, FoundCustomer, TagPage
from runtime.postgres import ANSWER_SECONDS, Pool, fetch_all

# Customers of one workspace by primary key, in the order of their ids.
_GET_CUSTOMERS: Final = "SELECT * FROM {}.get_customers(%b, %b::uuid[], %b::int4)"

# One of them by its external_id.
_GET_BY_EXTERNAL_ID: Final = "SELECT * FROM {}.get_by_external_id(%b, %b, %b::int4)"

# A page of one workspace's customers, and how many there are.
_LIST_CUSTOMERS: Final = """
SELECT * FROM {}.list_customers(
    %b, %b::int4, %b::int8, %b::int4, %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
    %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::int4)
"""

# A page of one workspace's tags, and how many there are.
_LIST_TAGS: Final = "SELECT * FROM {}.list_tags(%b, %b::int4, %b::int8, %b::int4)"

# How far the edition is, and whether it is still live.
_READ_CHECKPOINT: Final = "SELECT live, generation, position FROM {}.read_checkpoint(%b::int4)"

# The chain of the log at a position: says nothing of any workspace.
_READ_PLACE: Final = b"SELECT log.read_place(%b::int4, %b::int8)"

_MOVED: Final = (
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedTable,
)


class NoReadModel(Exception):
    """No edition of the read model is live: nobody migrated this database yet."""

    def __init__(self) -> None:
        super().__init__("There is no read model yet: `customers migrate` makes it.")


class _Queries(Struct, frozen=True, kw_only=True):
    get_customers: bytes
    get_by_external_id: bytes
    list_customers: bytes
    list_tags: bytes
    read_checkpoint: bytes


class ReadModel:
    """The live edition of the read model, whichever that is."""

    def __init__(self, pool: Pool, log_id: int) -> None:
        self._pool = pool
        self._log_id = log_id
        self._queries: _Queries | None = None
        self._customers = Gathering(self._get_customers)

    async def get_customer(
        self, workspace_id: WorkspaceId, customer_id: CustomerId
    ) -> FoundCustomer:
        """One customer of this workspace."""
        found = await self._customers.find(workspace_id, [customer_id])
        return found[customer_id]

    async def _get_customers(
        self, workspace_id: WorkspaceId, customer_ids: list[CustomerId]
    ) -> dict[CustomerId, FoundCustomer]:
        parameters = [workspace_id, customer_ids, self._log_id]
        rows = await self._ask_all("get_customers", parameters, LOOK_UP_SECONDS)
        return {
            customer_id: _found(row) for customer_id, row in zip(customer_ids, rows, strict=True)
        }

    async def get_by_external_id(
        self, workspace_id: WorkspaceId, external_id: str
    ) -> FoundCustomer:
        """The customer of this workspace that holds an external_id."""
        return _found(
            await self._ask("get_by_external_id", [workspace_id, external_id, self._log_id])
        )

    async def list_customers(self, workspace_id: WorkspaceId, query: ListQuery) -> CustomerPage:
        """A page of this workspace's customers."""
        parameters = [workspace_id, self._log_id, *query.parameters()]
        row = await self._ask("list_customers", parameters, seconds=ANSWER_SECONDS)
        _, _, checkpoint, newest, parked, documents, total, total_is_bound, next_place = row
        return CustomerPage(
            checkpoint=checkpoint,
            newest=newest,
            parked=parked,
            documents=documents or b"",
            total=total,
            total_is_bound=total_is_bound,
            next_place=None if next_place is None else tuple(next_place),
        )

    async def list_tags(self, workspace_id: WorkspaceId, offset: int, limit: int) -> TagPage:
        """A page of this workspace's tags, the most used first."""
        parameters = [workspace_id, self._log_id, offset, limit]
        row = await self._ask("list_tags", parameters, seconds=ANSWER_SECONDS)
        _, _, checkpoint, newest, parked, spellings, counts, total = row
        return TagPage(
            checkpoint=checkpoint,
            newest=newest,
            parked=parked,
            tags=list(zip(spellings or (), counts or (), strict=True)),
            total=total,
        )

    async def read_checkpoint(self) -> Position:
        """How far the read model is; 0 before the first projector."""
        _, _, position = await self._ask("read_checkpoint", [self._log_id])
        return Position(position or 0)

    async def has_place(self, position: Position, chain: bytes) -> bool:
        """Whether the log has come to this position, along the chain that begins so there."""
        [(start,)] = await fetch_all(
            self._pool, _READ_PLACE, [self._log_id, position], seconds=LOOK_UP_SECONDS
        )
        return start == chain

    async def _ask(
        self, question: str, parameters: Sequence[object], *, seconds: float = LOOK_UP_SECONDS
    ) -> TupleRow:
        """The one row that answers a question; as `_ask_all`."""
        [row] = await self._ask_all(question, parameters, seconds)
        return row

    async def _ask_all(
        self, question: str, parameters: Sequence[object], seconds: float
    ) -> list[TupleRow]:
        """Ask the live edition; again if another one is live by now, or its functions are new."""
        for is_last in (False, False, True):
            try:
                rows = await self._ask_once(question, parameters, seconds)
            except psycopg.Error as error:
                if is_last or not _is_moved(error):
                    raise
                rows = []
            if rows and rows[0][0]:
                return rows
            self._queries = None
        raise NoReadModel

    async def _ask_once(
        self, question: str, parameters: Sequence[object], seconds: float
    ) -> list[TupleRow]:
        if self._queries is None:
            self._queries = await self._find_live()
        query: bytes = getattr(self._queries, question)
        return await fetch_all(self._pool, query, parameters, seconds=seconds)

    async def _find_live(self) -> _Queries:
        query = "SELECT projections.live_edition()"
        [(edition,)] = await fetch_all(self._pool, query, [], seconds=LOOK_UP_SECONDS)
        if edition is None:
            raise NoReadModel
        schema = sql.Identifier(f"edition_{edition}")

        def of_edition(query: LiteralString) -> bytes:
            return sql.SQL(query).format(schema).as_bytes()

        return _Queries(
            get_customers=of_edition(_GET_CUSTOMERS),
            get_by_external_id=of_edition(_GET_BY_EXTERNAL_ID),
            list_customers=of_edition(_LIST_CUSTOMERS),
            list_tags=of_edition(_LIST_TAGS),
            read_checkpoint=of_edition(_READ_CHECKPOINT),
        )


def _is_moved(error: psycopg.Error) -> bool:
    # The last is what a call says that began before its functions were replaced, and went on after.
    return isinstance(error, _MOVED) or (
        isinstance(error, psycopg.errors.InternalError_) and "cache lookup failed" in str(error)
    )


def _found(row: TupleRow) -> FoundCustomer:
    _, _, checkpoint, newest, parked, document, version, erased = row
    return FoundCustomer(
        checkpoint=checkpoint,
        newest=newest,
        parked=parked,
        document=document,
        version=version,
        erased=erased,
    )
