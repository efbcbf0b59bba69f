"""HTTP <-> commands on customers by the client's own id; nothing is decided here."""

from typing import Final

from litestar import Response, delete, put
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from msgspec.structs import replace

from command_side.answers import Handlers, answer_once
from command_side.external import external_id_errors
from command_side.requests import WriteRequest, read_write_request
from command_side.routes import WRITE
from events.customer import EXTERNAL_ID_MAX
from runtime.web.paths import EXTERNAL_PATHS, read_external_id
from runtime.web.problems import AnyRequest


@put(EXTERNAL_PATHS, opt=WRITE)
async def put_external_customer(
    request: AnyRequest,
    handlers: NamedDependency[Handlers],
) -> Response[bytes]:
    """Change the customer that has this external_id, or create it."""
    read = await read_write_request(request)
    external_id = _external_id(request, read)
    asked = replace(
        read, body_errors=read.body_errors + external_id_errors(external_id, read.changes)
    )
    return await answer_once(
        request,
        asked,
        handlers,
        lambda terms: handlers.external.put(external_id, asked.changes, asked.origin, terms),
    )


@delete(EXTERNAL_PATHS, opt=WRITE, status_code=200)
async def delete_external_customer(
    request: AnyRequest,
    handlers: NamedDependency[Handlers],
) -> Response[bytes]:
    """Take the customer that has this external_id out of every answer; its history stays."""
    asked = await read_write_request(request, has_body=False)
    external_id = _external_id(request, asked)
    return await answer_once(
        request,
        asked,
        handlers,
        lambda terms: handlers.external.delete(external_id, asked.origin, terms),
    )


ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (put_external_customer, delete_external_customer)


def _external_id(request: AnyRequest, asked: WriteRequest) -> str:
    return asked.read_path(lambda: read_external_id(request.scope, EXTERNAL_ID_MAX))
