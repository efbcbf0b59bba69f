"""What the routes ask: the questions to the read model, each as fresh as the reader wants it."""

from events.envelope import CustomerId, WorkspaceId
from query_side.freshness import Freshness
from query_side.queries import CustomerPage, FoundCustomer, ListQuery, ReadModel


class CustomerReads:
    """Reads that show their workspace's own writes, unless they may be behind."""

    def __init__(self, model: ReadModel, freshness: Freshness, wait_seconds: float) -> None:
        self._model = model
        self._freshness = freshness
        self._wait_seconds = wait_seconds

    async def get(
        self, workspace_id: WorkspaceId, customer_id: CustomerId, *, eventual: bool = False
    ) -> tuple[FoundCustomer, bool]:
        """One customer, and whether the answer may be stale."""
        return await self._freshness.read(
            lambda: self._model.get_customer(workspace_id, customer_id), self._wait(eventual)
        )

    async def list(
        self, workspace_id: WorkspaceId, query: ListQuery, *, eventual: bool = False
    ) -> tuple[CustomerPage, bool]:
        """A page of customers, and whether the answer may be stale."""
        return await self._freshness.read(
            lambda: self._model.list_customers(workspace_id, query), self._wait(eventual)
        )

    def _wait(self, eventual: bool) -> float:
        return 0 if eventual else self._wait_seconds
