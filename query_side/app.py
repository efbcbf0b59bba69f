"""The query side as one part of an API process: its collaborators and its routes."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from litestar import Response
from msgspec import Struct

from query_side.freshness import Freshness
from query_side.queries import NoReadModel, ReadModel
from query_side.reads import CustomerReads
from query_side.routes import ROUTES
from runtime.postgres import Pool
from runtime.web.frame import Part
from runtime.web.problems import AnyRequest, answer, away


class QuerySide(Struct, frozen=True, kw_only=True):
    """What an API process needs to answer reads."""

    model: ReadModel
    freshness: Freshness
    reads: CustomerReads

    def part(self) -> Part:
        """The routes, with what they ask for and how they refuse."""
        return Part(
            routes=ROUTES,
            dependencies={"reads": self.reads},
            refusals={NoReadModel: _no_read_model},
        )


@asynccontextmanager
async def query_side(
    pool: Pool,
    log_id: int,
    *,
    wait_seconds: float,
    is_rung: Callable[[], bool],
) -> AsyncGenerator[QuerySide]:
    """A query side that answers until the block ends.

    Tell `freshness.projected` what the projector's pings say; `is_rung` says whether they can
    arrive.
    """
    model = ReadModel(pool, log_id)
    freshness = Freshness(model.read_checkpoint, is_rung)
    async with freshness.polling():
        yield QuerySide(
            model=model,
            freshness=freshness,
            reads=CustomerReads(model, freshness, wait_seconds),
        )


def _no_read_model(request: AnyRequest, error: NoReadModel) -> Response[bytes]:
    return answer(request, away(str(error)))
