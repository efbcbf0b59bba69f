"""What the service says of its events: their JSON Schemas, and the AsyncAPI document.

Nothing here knows the events: what is said is handed over.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from litestar import HttpMethod, Response, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Struct

from runtime.web.fixed_document import FixedDocument
from runtime.web.paths import path_steps
from runtime.web.problems import AnyRequest, ApiError

_METHODS: Final = [HttpMethod.GET, HttpMethod.HEAD]
_PUBLIC: Final = {"public": True}


class EventDocuments(Struct, frozen=True, kw_only=True):
    """The documents; schemas by `<type>/<version>`."""

    asyncapi: FixedDocument
    schema_index: FixedDocument
    """Which schemas there are."""
    schemas: Mapping[str, FixedDocument]


def unknown_schema() -> ApiError:
    """404: no event has this type and version."""
    return ApiError(404, "There is no schema of this type and version; /schemas names all.")


@route("/asyncapi.json", http_method=_METHODS, opt=_PUBLIC)
async def asyncapi(
    request: AnyRequest, event_documents: NamedDependency[EventDocuments]
) -> Response[bytes]:
    """What is published for subscribers, and where."""
    return event_documents.asyncapi.answer(request)


@route("/schemas", http_method=_METHODS, opt=_PUBLIC)
async def schemas(
    request: AnyRequest, event_documents: NamedDependency[EventDocuments]
) -> Response[bytes]:
    """Which JSON Schemas of events there are."""
    return event_documents.schema_index.answer(request)


@route("/schemas/{event_type:str}/{version:str}", http_method=_METHODS, opt=_PUBLIC)
async def schema(
    request: AnyRequest,
    event_documents: NamedDependency[EventDocuments],
    event_type: FromPath[str],
    version: FromPath[str],
) -> Response[bytes]:
    """The JSON Schema of an event's data: where `dataschema` of the event leads."""
    found = event_documents.schemas.get(f"{event_type}/{version}")
    # To the framework a slash that is percent-encoded is one like any other.
    as_sent = path_steps(request.scope)[1:] == [event_type.encode(), version.encode()]
    if found is None or not as_sent:
        raise unknown_schema()
    return found.answer(request)


ROUTES: Final[Sequence[HTTPRouteHandler]] = (asyncapi, schemas, schema)
