"""HTTP <-> the erasure of a customer."""

from typing import Final

import msgspec
from litestar import Response, delete
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler

from command_side.answers import Handlers, about_write
from command_side.erasure import Erased
from command_side.errors import InvalidFields
from command_side.idempotency import Claim
from command_side.requests import WriteRequest, read_write_request, refuse_unreadable
from events.envelope import CustomerId
from runtime.field_error import FieldError
from runtime.web.envelope import BASE_PATH, success
from runtime.web.headers import header
from runtime.web.ignored import warnings_meta
from runtime.web.paths import CustomerIdText, read_customer_id
from runtime.web.problems import AnyRequest

ERASE: Final = {"scope": "customers:erase"}
MESSAGE: Final = "Personal data erased"
_NOT_HEEDED: Final = {
    "X-Actor": "is not kept: what says that a person was erased holds nothing that anybody worded.",
    "X-Reason": (
        "is not kept: what says that a person was erased holds nothing that anybody worded."
    ),
    "If-Match": "is not heeded: a person is erased whatever the version of the customer.",
    "If-None-Match": "is not heeded: a person is erased whatever the version of the customer.",
}


@delete(f"{BASE_PATH}/customers/{{customer_id:str}}/personal-data", opt=ERASE, status_code=200)
async def erase_customer(
    request: AnyRequest,
    customer_id: CustomerIdText,
    handlers: NamedDependency[Handlers],
) -> Response[bytes]:
    """Forget a person for ever; the answer says what was destroyed where."""
    asked = await read_write_request(request, has_body=False, is_conditional=False)
    customer = CustomerId(asked.read_path(lambda: read_customer_id(customer_id)))
    ignored = _ignored(request)

    async def erase(claim: Claim | None) -> Erased:
        if asked.unreadable or asked.request_errors or (ignored and asked.is_strict):
            await handlers.erasure.require(customer, asked.origin)
            _refuse(asked, ignored if asked.is_strict else ())
        return await handlers.erasure.erase(customer, asked.origin, claim)

    erased = await handlers.once.run(
        asked.keyed, erase, lambda kept: handlers.erasure.recall(kept, asked.origin)
    )
    return success(
        request.scope,
        msgspec.json.encode(erased.receipt),
        message=MESSAGE,
        meta=warnings_meta((*asked.warnings, *(error.error for error in ignored))),
        headers=about_write(erased.token, replayed=erased.replayed),
    )


ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (erase_customer,)


def _ignored(request: AnyRequest) -> tuple[FieldError, ...]:
    """Headers of other writes that mean nothing here, each with why."""
    return tuple(
        FieldError(field=name, error=f"{name} {why}", code="not_heeded")
        for name, why in _NOT_HEEDED.items()
        if header(request.scope, name.lower().encode("ascii")) is not None
    )


def _refuse(asked: WriteRequest, ignored: tuple[FieldError, ...]) -> None:
    refuse_unreadable(asked.unreadable, asked.request_errors + ignored)
    raise InvalidFields(asked.request_errors + ignored)
