"""HTTP <-> the erasure of a customer."""

from collections.abc import Sequence
from typing import Final

import msgspec
from litestar import Response, delete
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler

from command_side.answers import Handlers, about_write
from command_side.erasure import Erased
from command_side.errors import InvalidFields
from command_side.idempotency import Claim
from command_side.requests import read_write_request, refuse_unreadable
from events.envelope import CustomerId
from runtime.field_error import FieldError
from runtime.web.conditions import IF_MATCH, IF_NONE_MATCH
from runtime.web.envelope import BASE_PATH, success
from runtime.web.headers import header
from runtime.web.ignored import warnings_meta
from runtime.web.paths import CustomerIdText, read_customer_id
from runtime.web.problems import AnyRequest

ERASE: Final = {"scope": "customers:erase"}
MESSAGE: Final = "Personal data erased"
_NOT_KEPT: Final = (
    "is not kept: what says that a person was erased holds nothing that anybody worded."
)
# To go on regardless would do for ever what was ordered on a condition.
_NO_CONDITION: Final = (
    "is not possible here: a person is erased whatever the version of the customer. Leave it out."
)


@delete(f"{BASE_PATH}/customers/{{customer_id:str}}/personal-data", opt=ERASE, status_code=200)
async def erase_customer(
    request: AnyRequest,
    customer_id: CustomerIdText,
    handlers: NamedDependency[Handlers],
) -> Response[bytes]:
    """Forget a person for ever; the answer says what was destroyed where."""
    asked = await read_write_request(request, has_body=False, is_conditional=False)
    customer = CustomerId(asked.read_path(lambda: read_customer_id(customer_id)))
    ignored = _given(request, ("X-Actor", "X-Reason"), _NOT_KEPT, "not_heeded")
    wrong = asked.request_errors
    if asked.is_strict:
        wrong += ignored
    wrong += _given(request, (IF_MATCH, IF_NONE_MATCH), _NO_CONDITION, "not_supported")

    async def erase(claim: Claim | None) -> Erased:
        if asked.unreadable or wrong:
            await handlers.erasure.require(customer, asked.origin)
            refuse_unreadable(asked.unreadable, wrong)
            raise InvalidFields(wrong)
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


def _given(
    request: AnyRequest, names: Sequence[str], why: str, code: str
) -> tuple[FieldError, ...]:
    """Headers of other writes that were sent, each with why it is not for this one."""
    return tuple(
        FieldError(field=name, error=f"{name} {why}", code=code)
        for name in names
        if header(request.scope, name.lower().encode("ascii")) is not None
    )
