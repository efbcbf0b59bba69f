"""The query side as one part of an API process: its collaborators and its routes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from events.errors import UnknownEvent
from events.feed import FeedLog
from events.history import HistoryLog
from events.rendering import Renderer
from events.token import Tokens
from query_side import feed_routes, history_routes, personal_data_routes, routes
from query_side.access_log import AccessLog
from query_side.arrivals import Arrivals
from query_side.cursors import Cursors
from query_side.feed import Feed
from query_side.feed_stream import FeedMeans
from query_side.freshness import Freshness
from query_side.history import History
from query_side.openapi import DESCRIPTION
from query_side.past import Past
from query_side.personal_data import PersonalData
from query_side.queries import ReadModel
from query_side.reads import CustomerReads
from query_side.refusals import REFUSALS, refuse
from query_side.requests import RequestReader
from query_side.routes import ReadMeans
from runtime.postgres import Pool
from runtime.sealing import Sealer
from runtime.web.authentication import Authentication
from runtime.web.frame import Part
from runtime.web.problems import answer_newer_version

ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    *routes.ROUTES,
    *history_routes.ROUTES,
    *personal_data_routes.ROUTES,
    *feed_routes.ROUTES,
)


class QuerySide(Struct, frozen=True, kw_only=True):
    """What an API process needs to answer reads."""

    model: ReadModel
    freshness: Freshness
    means: ReadMeans
    feed_means: FeedMeans

    @property
    def arrivals(self) -> Arrivals:
        """To be rung after each append."""
        return self.feed_means.arrivals

    def part(self) -> Part:
        """The routes, with what they ask for and how they refuse."""
        return Part(
            routes=ROUTES,
            dependencies={"means": self.means, "feed_means": self.feed_means},
            refusals={**dict.fromkeys(REFUSALS, refuse), UnknownEvent: answer_newer_version},
            description=DESCRIPTION,
        )


@asynccontextmanager
async def query_side(
    pool: Pool,
    log_id: int,
    tokens: Tokens,
    sealer: Sealer,
    *,
    renderer: Renderer,
    authentication: Authentication,
    wait_seconds: float,
    can_hear_pings: Callable[[], bool],
    stop: asyncio.Event,
) -> AsyncGenerator[QuerySide]:
    """A query side that answers until the block ends; from `stop` on nobody waits for events.

    Tell `freshness.projected` what the projector's pings say, and ring `arrivals` after each
    append; `can_hear_pings` says whether pings can arrive.
    """
    model = ReadModel(pool, log_id)
    freshness = Freshness(model.read_checkpoint, can_hear_pings)
    cursors = Cursors(sealer)
    feed_log = FeedLog(pool, log_id)
    arrivals = Arrivals(feed_log.find_ends)
    reads = CustomerReads(model, freshness, wait_seconds)
    history_log, accesses = HistoryLog(pool, log_id), AccessLog(pool)
    async with freshness.polling(), arrivals.looking(stop):
        yield QuerySide(
            model=model,
            freshness=freshness,
            means=ReadMeans(
                reads=reads,
                requests=RequestReader(tokens, cursors),
                tokens=tokens,
                cursors=cursors,
                history=History(history_log, renderer.keyring, pool, accesses),
                past=Past(history_log, renderer.keyring, accesses),
                personal_data=PersonalData(history_log, renderer.keyring, pool),
                accesses=accesses,
            ),
            feed_means=FeedMeans(
                feed=Feed(feed_log, renderer),
                reads=reads,
                tokens=tokens,
                arrivals=arrivals,
                authentication=authentication,
            ),
        )
