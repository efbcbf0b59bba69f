"""What the routes ask: the questions to the read model, each as fresh as the reader demands."""

from collections.abc import Awaitable, Callable

from events.envelope import CustomerId, WorkspaceId
from query_side.freshness import Demand, Freshness
from query_side.list_query import ListQuery
from query_side.queries import ReadModel
from query_side.results import CustomerPage, FoundCustomer, FoundT, TagPage


class HistoryGone(Exception):
    """A place that the log does not have, or has with other events before it, was named."""


class LostToken(HistoryGone):
    """A consistency token names such a place."""

    def __init__(self) -> None:
        super().__init__(
            "What this X-Consistency-Token is about is lost: the service was restored to an "
            "earlier point. Read without the token, and repeat the writes that are missing."
        )


class LostCursor(HistoryGone):
    """A cursor of the feed names such a place."""

    def __init__(self) -> None:
        super().__init__(
            "The place of this cursor is lost: the service was restored to an earlier point, so "
            "your copy may hold events that never happened. Begin a new copy without a cursor, or "
            "go back to an older cursor, together with your copy as it was then."
        )


class CustomerReads:
    """Reads that show their workspace's own writes, unless their demand is eventual.

    Each answers with whether the answer may be stale; raises LostToken and NotShownYet.
    """

    def __init__(self, model: ReadModel, freshness: Freshness, wait_seconds: float) -> None:
        self._model = model
        self._freshness = freshness
        self._wait_seconds = wait_seconds

    async def get(
        self, workspace_id: WorkspaceId, customer_id: CustomerId, demand: Demand
    ) -> tuple[FoundCustomer, bool]:
        """One customer."""
        return await self._read(lambda: self._model.get_customer(workspace_id, customer_id), demand)

    async def get_by_external_id(
        self, workspace_id: WorkspaceId, external_id: str, demand: Demand
    ) -> tuple[FoundCustomer, bool]:
        """The customer that holds an external_id."""
        return await self._read(
            lambda: self._model.get_by_external_id(workspace_id, external_id), demand
        )

    async def list_customers(
        self, workspace_id: WorkspaceId, query: ListQuery, demand: Demand
    ) -> tuple[CustomerPage, bool]:
        """A page of customers."""
        return await self._read(lambda: self._model.list_customers(workspace_id, query), demand)

    async def list_tags(
        self, workspace_id: WorkspaceId, offset: int, limit: int, demand: Demand
    ) -> tuple[TagPage, bool]:
        """A page of tags."""
        return await self._read(lambda: self._model.list_tags(workspace_id, offset, limit), demand)

    async def check(self, demand: Demand) -> None:
        """Raises LostToken when the log does not have the place that is demanded."""
        token = demand.token
        if token is not None and not await self._model.has_place(token.position, token.chain):
            raise LostToken

    async def _read(
        self, ask: Callable[[], Awaitable[FoundT]], demand: Demand
    ) -> tuple[FoundT, bool]:
        # A place that will never be reached is not waited for.
        await self.check(demand)
        return await self._freshness.read(ask, demand, self._wait_seconds)
