"""HTTP <-> commands; nothing is decided here."""

from typing import TypeAlias

import msgspec
from litestar import Request, Response, delete, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from command_side.bulk import ROWS_MAX, BulkHandler, RowResult
from command_side.bulk_rows import read_rows_of
from command_side.commands import CreateCustomer, DeleteCustomer, Origin, UpdateCustomer
from command_side.errors import InvalidFields
from command_side.fields import errors_of_new, read_changes
from command_side.handler import CommandHandler, Written
from events.envelope import CustomerId, WorkspaceId
from runtime.web.authentication import principal_of
from runtime.web.context import read_context
from runtime.web.envelope import BASE_PATH, success
from runtime.web.json_body import read_object, read_rows
from runtime.web.paths import CustomerIdText, read_customer_id

AnyRequest: TypeAlias = Request[object, object, State]

_WRITE = {"scope": "customers:write"}


@post(f"{BASE_PATH}/customers", opt=_WRITE, status_code=200)
async def create_customer(
    request: AnyRequest, commands: NamedDependency[CommandHandler]
) -> Response[bytes]:
    """Create a single customer."""
    reading = read_changes(await read_object(request))
    origin = _origin(request)
    if reading.errors:
        raise InvalidFields(errors_of_new(reading))
    written = await commands.create(CreateCustomer(changes=reading.changes), origin)
    return _answer(
        request,
        written,
        "Customer created successfully",
        unknown=reading.unknown,
        location=f"{BASE_PATH}/customers/{written.customer_id}",
    )


@put(f"{BASE_PATH}/customers/{{customer_id:str}}", opt=_WRITE)
async def update_customer(
    request: AnyRequest, customer_id: CustomerIdText, commands: NamedDependency[CommandHandler]
) -> Response[bytes]:
    """Change the fields that are sent; the others stay."""
    customer = CustomerId(read_customer_id(customer_id))
    reading = read_changes(await read_object(request))
    origin = _origin(request)
    if reading.errors:
        raise InvalidFields(reading.errors)
    written = await commands.change(customer, UpdateCustomer(changes=reading.changes), origin)
    return _answer(request, written, "Customer updated successfully", unknown=reading.unknown)


@delete(f"{BASE_PATH}/customers/{{customer_id:str}}", opt=_WRITE, status_code=200)
async def delete_customer(
    request: AnyRequest, customer_id: CustomerIdText, commands: NamedDependency[CommandHandler]
) -> Response[bytes]:
    """Take the customer out of every answer; its history stays."""
    customer = CustomerId(read_customer_id(customer_id))
    written = await commands.change(customer, DeleteCustomer(), _origin(request))
    return _answer(request, written, "Customer deleted successfully")


class _BulkData(Struct, frozen=True, kw_only=True):
    total: int
    created: int
    updated: int
    unchanged: int
    failed: int
    results: list[RowResult]


@post(f"{BASE_PATH}/customers/bulk", opt=_WRITE, status_code=200)
async def bulk_upsert_customers(
    request: AnyRequest, bulk: NamedDependency[BulkHandler]
) -> Response[bytes]:
    """Create or update up to 500 customers by external_id; a bad row fails alone."""
    rows = await read_rows(request, member="customers", most=ROWS_MAX)
    origin = _origin(request)
    command, failed, unknown = read_rows_of(rows)
    done = await bulk.upsert(command, origin)
    results = sorted([*failed, *done.results], key=lambda result: result.index)
    counts = dict.fromkeys(("created", "updated", "unchanged", "failed"), 0)
    for result in results:
        counts[result.status] += 1
    return success(
        request.scope,
        _BulkData(total=len(results), results=results, **counts),
        message=f"{len(results)} customers processed",
        meta=_warnings(unknown),
    )


ROUTES: tuple[HTTPRouteHandler, ...] = (
    create_customer,
    update_customer,
    delete_customer,
    bulk_upsert_customers,
)


def _origin(request: AnyRequest) -> Origin:
    principal = principal_of(request.scope)
    context = read_context(request.scope)
    return Origin(
        workspace_id=WorkspaceId(principal.workspace_id),
        api_key_id=str(principal.key_id),
        actor=context.actor,
        reason=context.reason,
        request_id=context.request_id,
        traceparent=context.traceparent,
    )


def _answer(
    request: AnyRequest,
    written: Written,
    message: str,
    *,
    unknown: tuple[str, ...] = (),
    location: str | None = None,
) -> Response[bytes]:
    headers = {"ETag": f'"{written.version}"'}
    if location is not None:
        headers["Location"] = location
    data = written.document
    if data is None:
        data = msgspec.json.encode({"id": written.customer_id})
    return success(request.scope, data, message=message, meta=_warnings(unknown), headers=headers)


def _warnings(unknown: tuple[str, ...] | list[str]) -> dict[str, object]:
    if not unknown:
        return {}
    return {
        "warnings": [f"{name!r} is no field of a customer and was ignored." for name in unknown]
    }
