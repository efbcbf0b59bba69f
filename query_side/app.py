"""The query side as one part of an API process: its collaborators and its routes."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from msgspec import Struct

from events.token import Tokens
from query_side.cursors import Cursors
from query_side.freshness import Freshness, NotShownYet
from query_side.openapi import DESCRIPTION
from query_side.queries import NoReadModel, ReadModel
from query_side.reads import CustomerReads, LostHistory
from query_side.refusals import refuse
from query_side.requests import RequestReader
from query_side.routes import ROUTES, ReadMeans
from runtime.postgres import Pool
from runtime.sealing import Sealer
from runtime.web.frame import Part


class QuerySide(Struct, frozen=True, kw_only=True):
    """What an API process needs to answer reads."""

    model: ReadModel
    freshness: Freshness
    means: ReadMeans

    def part(self) -> Part:
        """The routes, with what they ask for and how they refuse."""
        return Part(
            routes=ROUTES,
            dependencies={"means": self.means},
            refusals={NoReadModel: refuse, NotShownYet: refuse, LostHistory: refuse},
            description=DESCRIPTION,
        )


@asynccontextmanager
async def query_side(
    pool: Pool,
    log_id: int,
    tokens: Tokens,
    sealer: Sealer,
    *,
    wait_seconds: float,
    can_hear_pings: Callable[[], bool],
) -> AsyncGenerator[QuerySide]:
    """A query side that answers until the block ends.

    Tell `freshness.projected` what the projector's pings say; `can_hear_pings` says whether they
    can arrive.
    """
    model = ReadModel(pool, log_id)
    freshness = Freshness(model.read_checkpoint, can_hear_pings)
    cursors = Cursors(sealer)
    async with freshness.polling():
        yield QuerySide(
            model=model,
            freshness=freshness,
            means=ReadMeans(
                reads=CustomerReads(model, freshness, wait_seconds),
                requests=RequestReader(tokens, cursors),
                cursors=cursors,
            ),
        )
