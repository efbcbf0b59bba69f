"""HTTP <-> commands; nothing is decided here."""

from collections import Counter
from collections.abc import Sequence

import msgspec
from litestar import Response, delete, post, put
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from command_side.bulk import ROWS_MAX, BulkHandler, RowResult
from command_side.bulk_rows import read_bulk_options, read_rows_of
from command_side.commands import BulkUpsert, CreateCustomer, DeleteCustomer, Origin, UpdateCustomer
from command_side.customer import FIELDS, rules_broken
from command_side.errors import InvalidFields
from command_side.fields import read_changes
from command_side.handler import CommandHandler, Written
from events.customer import CustomerData
from events.document import CustomerDocument
from events.envelope import CustomerId, WorkspaceId
from runtime.field_error import FieldError
from runtime.web.authentication import principal_of
from runtime.web.context import read_context
from runtime.web.envelope import BASE_PATH, success
from runtime.web.json_body import read_object, read_rows
from runtime.web.paths import CustomerIdText, read_customer_id
from runtime.web.problems import AnyRequest, ApiError

_WRITE = {"scope": "customers:write"}
_SERVER_OWNED = frozenset(CustomerDocument.__struct_fields__) - frozenset(FIELDS)
_WARNINGS_MAX = 20
_NAME_MAX = 60


@post(f"{BASE_PATH}/customers", opt=_WRITE, status_code=200)
async def create_customer(
    request: AnyRequest, commands: NamedDependency[CommandHandler]
) -> Response[bytes]:
    """Create a single customer."""
    reading = read_changes(await read_object(request))
    origin, unkept = _read_origin(request)
    if reading.errors or unkept:
        broken = rules_broken(CustomerData(), reading.changes, reading.errors, "")
        raise InvalidFields(broken + unkept)
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
    origin, unkept = _read_origin(request)
    try:
        reading = read_changes(await read_object(request))
    except ApiError:
        # Whether there is such a customer is told before what is wrong with the body.
        await commands.find(customer, origin)
        raise
    if reading.errors or unkept:
        before = await commands.find(customer, origin)
        raise InvalidFields(rules_broken(before, reading.changes, reading.errors, "") + unkept)
    written = await commands.change(customer, UpdateCustomer(changes=reading.changes), origin)
    return _answer(request, written, "Customer updated successfully", unknown=reading.unknown)


@delete(f"{BASE_PATH}/customers/{{customer_id:str}}", opt=_WRITE, status_code=200)
async def delete_customer(
    request: AnyRequest, customer_id: CustomerIdText, commands: NamedDependency[CommandHandler]
) -> Response[bytes]:
    """Take the customer out of every answer; its history stays."""
    customer = CustomerId(read_customer_id(customer_id))
    origin, unkept = _read_origin(request)
    if unkept:
        await commands.find(customer, origin)
        raise InvalidFields(unkept)
    written = await commands.change(customer, DeleteCustomer(), origin)
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
    options = read_bulk_options(request.scope["query_string"])
    rows = await read_rows(request, member="customers", most=ROWS_MAX)
    origin, unkept = _read_origin(request)
    if unkept:
        raise InvalidFields(unkept)
    readable, failed, unknown = read_rows_of(rows)
    if options.atomic and failed:
        raise InvalidFields(tuple(error for row in failed for error in row.errors))
    command = BulkUpsert(rows=readable, atomic=options.atomic, dry_run=options.dry_run)
    done = await bulk.upsert(command, origin)
    results = sorted([*failed, *done.results], key=lambda result: result.index)
    counts = Counter(result.status for result in results)
    return success(
        request.scope,
        _BulkData(
            total=len(results),
            created=counts["created"],
            updated=counts["updated"],
            unchanged=counts["unchanged"],
            failed=counts["failed"],
            results=results,
        ),
        message=f"{len(results)} customer{'s' * (len(results) != 1)} processed",
        meta=_warnings(unknown),
    )


ROUTES: tuple[HTTPRouteHandler, ...] = (
    create_customer,
    update_customer,
    delete_customer,
    bulk_upsert_customers,
)


def _read_origin(request: AnyRequest) -> tuple[Origin, tuple[FieldError, ...]]:
    principal = principal_of(request.scope)
    context, unkept = read_context(request.scope)
    origin = Origin(
        workspace_id=WorkspaceId(principal.workspace_id),
        api_key_id=str(principal.key_id),
        actor=context.actor,
        reason=context.reason,
        request_id=context.request_id,
        traceparent=context.traceparent,
    )
    return origin, unkept


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


def _warnings(unknown: Sequence[str]) -> dict[str, object]:
    if not unknown:
        return {}
    warnings = [_warning(name) for name in unknown[:_WARNINGS_MAX]]
    if len(unknown) > _WARNINGS_MAX:
        warnings.append(f"{len(unknown) - _WARNINGS_MAX} more members were ignored.")
    return {"warnings": warnings}


def _warning(name: str) -> str:
    if name in _SERVER_OWNED:
        return f"{name} is set by the service and was ignored."
    shown = name if len(name) <= _NAME_MAX else f"{name[:_NAME_MAX]}…"
    return f"{shown} is no field of a customer and was ignored."
