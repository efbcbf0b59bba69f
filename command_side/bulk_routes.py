"""HTTP <-> the bulk command; nothing is decided here."""

from collections import Counter
from typing import Final

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from msgspec import Raw, Struct

from command_side.answers import Handlers, about_write
from command_side.bulk import BulkDone
from command_side.bulk_results import RowResult
from command_side.bulk_rows import read_bulk
from command_side.idempotency import Claim
from command_side.routes import WRITE
from runtime.web.envelope import BASE_PATH, success
from runtime.web.ignored import warnings_meta
from runtime.web.preferences import note_handling
from runtime.web.problems import AnyRequest


class BulkData(Struct, frozen=True, kw_only=True):
    """How many rows became what, and every row in the order of the request."""

    total: int
    created: int
    updated: int
    unchanged: int
    failed: int
    results: tuple[RowResult, ...]


@post(f"{BASE_PATH}/customers/bulk", opt=WRITE, status_code=200)
async def bulk_upsert_customers(
    request: AnyRequest, handlers: NamedDependency[Handlers]
) -> Response[bytes]:
    """Create or update up to 500 customers by external_id; a bad row fails alone."""
    asked = await read_bulk(request)

    async def upsert(claim: Claim | None) -> BulkDone:
        return await handlers.bulk.upsert(asked.command(), asked.origin, claim)

    async def recall(kept: Raw) -> BulkDone:
        return await handlers.bulk.recall(kept, asked.read_again, asked.origin)

    done = await handlers.once.run(asked.keyed, upsert, recall)
    note_handling(request.scope, is_strict=done.is_strict)
    total = len(done.results)
    return success(
        request.scope,
        _data(done.results),
        message=f"{total} customer{'s' * (total != 1)} processed",
        meta=warnings_meta(asked.warnings(done.is_strict)),
        headers=about_write(done.token, replayed=done.replayed),
    )


ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (bulk_upsert_customers,)


def _data(results: tuple[RowResult, ...]) -> BulkData:
    counts = Counter(result.status for result in results)
    return BulkData(
        total=len(results),
        created=counts["created"],
        updated=counts["updated"],
        unchanged=counts["unchanged"],
        failed=counts["failed"],
        results=results,
    )
