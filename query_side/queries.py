"""One function per question to the read model; each is one round trip and one snapshot."""

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from msgspec import Struct
from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from events.envelope import CustomerId, Position, WorkspaceId
from runtime.postgres import Pool, ask
from runtime.text import SearchPatterns

# One customer of one workspace by primary key.
_GET_CUSTOMER: Final = "SELECT * FROM {}.get_customer(%b, %b, %b::int4)"

# A page of one workspace's customers, and how many there are.
_LIST_CUSTOMERS: Final = """
SELECT * FROM {}.list_customers(
    %b, %b::int4, %b::int8, %b::int4, %b::text[], %b::text[],
    %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[])
"""

# How far the edition is, and whether it is still live.
_READ_CHECKPOINT: Final = "SELECT live, generation, position FROM {}.read_checkpoint(%b::int4)"

_MOVED: Final = (
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedTable,
)
_CONNECTION_SECONDS: Final = 2.0


class NoReadModel(Exception):
    """No edition of the read model is live: nobody migrated this database yet."""

    def __init__(self) -> None:
        super().__init__("There is no read model yet: `customers migrate` makes it.")


class Answer(Struct, frozen=True, kw_only=True):
    """What every answer says of its own age."""

    checkpoint: Position
    """The last position that the answer shows."""
    newest: Position
    """The newest position of the workspace, in the same snapshot."""
    parked: bool
    """Whether events that the answer is about could not be applied."""

    @property
    def is_behind(self) -> bool:
        """Whether the workspace has written what the answer does not show."""
        return self.checkpoint < self.newest


class FoundCustomer(Answer, frozen=True, kw_only=True):
    """One customer as finished JSON; None when the workspace has none of this id."""

    document: bytes | None
    version: int | None


class CustomerPage(Answer, frozen=True, kw_only=True):
    """A page of customers as finished JSON documents joined by commas."""

    documents: bytes
    total: int
    total_is_bound: bool
    """Whether there are more matches than `total`."""


class ListQuery(Struct, frozen=True, kw_only=True):
    """Which customers are listed, and which part of the list is wanted."""

    offset: int
    limit: int
    tags_any: tuple[tuple[str, ...], ...] = ()
    """Groups of tag keys: one of each group must be there."""
    tags_none: tuple[str, ...] = ()
    search: SearchPatterns | None = None


class _Queries(Struct, frozen=True):
    get_customer: bytes
    list_customers: bytes
    read_checkpoint: bytes


class ReadModel:
    """The live edition of the read model, whichever that is."""

    def __init__(self, pool: Pool, log_id: int) -> None:
        self._pool = pool
        self._log_id = log_id
        self._queries: _Queries | None = None

    async def get_customer(
        self, workspace_id: WorkspaceId, customer_id: CustomerId
    ) -> FoundCustomer:
        """One customer of this workspace."""
        parameters = [workspace_id, customer_id, self._log_id]
        row = await self._ask("get_customer", parameters)
        _, _, checkpoint, newest, parked, document, version = row
        return FoundCustomer(
            checkpoint=checkpoint, newest=newest, parked=parked, document=document, version=version
        )

    async def list_customers(self, workspace_id: WorkspaceId, query: ListQuery) -> CustomerPage:
        """A page of this workspace's customers: newest first, or best matches of a search first."""
        row = await self._ask("list_customers", self._list_parameters(workspace_id, query))
        _, _, checkpoint, newest, parked, documents, total, total_is_bound = row
        return CustomerPage(
            checkpoint=checkpoint,
            newest=newest,
            parked=parked,
            documents=documents or b"",
            total=total,
            total_is_bound=total_is_bound,
        )

    async def read_checkpoint(self) -> Position:
        """How far the read model is; 0 before the first projector."""
        _, _, position = await self._ask("read_checkpoint", [self._log_id])
        return Position(position or 0)

    def _list_parameters(self, workspace_id: WorkspaceId, query: ListQuery) -> list[object]:
        search = query.search
        return [
            workspace_id,
            self._log_id,
            query.offset,
            query.limit,
            ["\n".join(group) for group in query.tags_any],
            list(query.tags_none),
            *(
                [None] * 6
                if search is None
                else [
                    search.anywhere,
                    search.phone,
                    search.start,
                    search.phone_start,
                    search.exact,
                    search.prefix,
                ]
            ),
        ]

    async def _ask(self, question: str, parameters: Sequence[object]) -> TupleRow:
        """Ask the live edition; another one may have become live since the last question."""
        if self._queries is not None:
            try:
                row = await self._fetch(getattr(self._queries, question), parameters)
            except _MOVED:
                row = None
            if row is not None and row[0]:
                return row
        self._queries = await self._find_live()
        row = await self._fetch(getattr(self._queries, question), parameters)
        if row is None:
            raise NoReadModel
        return row

    async def _find_live(self) -> _Queries:
        row = await self._fetch(b"SELECT projections.live_edition()", [])
        if row is None or row[0] is None:
            raise NoReadModel
        schema = sql.Identifier(f"edition_{row[0]}")
        return _Queries(
            *(
                sql.SQL(text).format(schema).as_bytes()
                for text in (_GET_CUSTOMER, _LIST_CUSTOMERS, _READ_CHECKPOINT)
            )
        )

    async def _fetch(self, query: bytes, parameters: Sequence[object]) -> TupleRow | None:
        async def fetch(connection: AsyncConnection[TupleRow]) -> TupleRow | None:
            cursor: psycopg.AsyncCursor[tuple[Any, ...]] = connection.cursor(binary=True)
            await cursor.execute(query, parameters)
            return await cursor.fetchone()

        return await ask(self._pool, fetch)
