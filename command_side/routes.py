"""HTTP <-> commands on customers by their id; nothing is decided here."""

from typing import Final

from litestar import Response, delete, patch, post, put
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler

from command_side.answers import Handlers, answer_once
from command_side.commands import CreateCustomer, DeleteCustomer, RestoreCustomer, UpdateCustomer
from command_side.handler import Change
from command_side.requests import WriteRequest, read_write_request
from events.envelope import CustomerId
from runtime.web.envelope import BASE_PATH
from runtime.web.paths import CustomerIdText, read_customer_id
from runtime.web.problems import AnyRequest

WRITE: Final = {"scope": "customers:write"}
_CUSTOMERS: Final = f"{BASE_PATH}/customers"
_CUSTOMER: Final = f"{BASE_PATH}/customers/{{customer_id:str}}"


@post(_CUSTOMERS, opt=WRITE, status_code=200)
async def create_customer(
    request: AnyRequest,
    handlers: NamedDependency[Handlers],
) -> Response[bytes]:
    """Create a single customer."""
    asked = await read_write_request(request, is_conditional=False)
    command = CreateCustomer(changes=asked.changes)
    return await answer_once(
        request,
        asked,
        handlers,
        lambda terms: handlers.commands.create(command, asked.origin, terms),
    )


@put(_CUSTOMER, opt=WRITE)
async def update_customer(
    request: AnyRequest,
    customer_id: CustomerIdText,
    handlers: NamedDependency[Handlers],
) -> Response[bytes]:
    """Change the fields that are sent; the others stay."""
    return await _update(request, customer_id, handlers)


@patch(_CUSTOMER, opt=WRITE)
async def patch_customer(
    request: AnyRequest,
    customer_id: CustomerIdText,
    handlers: NamedDependency[Handlers],
) -> Response[bytes]:
    """Change the fields that are sent, as a JSON merge patch; the same as PUT."""
    return await _update(request, customer_id, handlers)


@delete(_CUSTOMER, opt=WRITE, status_code=200)
async def delete_customer(
    request: AnyRequest,
    customer_id: CustomerIdText,
    handlers: NamedDependency[Handlers],
) -> Response[bytes]:
    """Take the customer out of every answer; its history stays."""
    asked = await read_write_request(request, has_body=False)
    return await _change(request, asked, customer_id, DeleteCustomer(), handlers)


@post(f"{_CUSTOMER}/restore", opt=WRITE, status_code=200)
async def restore_customer(
    request: AnyRequest,
    customer_id: CustomerIdText,
    handlers: NamedDependency[Handlers],
) -> Response[bytes]:
    """Bring a deleted customer back, with its id and its history."""
    asked = await read_write_request(request, has_body=False)
    return await _change(request, asked, customer_id, RestoreCustomer(), handlers)


ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    create_customer,
    update_customer,
    patch_customer,
    delete_customer,
    restore_customer,
)


async def _update(request: AnyRequest, customer_id: str, handlers: Handlers) -> Response[bytes]:
    asked = await read_write_request(request)
    command = UpdateCustomer(changes=asked.changes)
    return await _change(request, asked, customer_id, command, handlers)


async def _change(
    request: AnyRequest,
    asked: WriteRequest,
    customer_id: str,
    command: Change,
    handlers: Handlers,
) -> Response[bytes]:
    customer = CustomerId(asked.read_path(lambda: read_customer_id(customer_id)))
    return await answer_once(
        request,
        asked,
        handlers,
        lambda terms: handlers.commands.change(customer, command, asked.origin, terms),
    )
