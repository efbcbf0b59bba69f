"""Ids in the path of a request."""

import re
from typing import Annotated, Final, NoReturn, TypeAlias
from urllib.parse import unquote_to_bytes
from uuid import UUID

from litestar.params import PathParameter
from litestar.types import Scope

from runtime.field_error import FieldError
from runtime.text import CONTROL
from runtime.web.envelope import BASE_PATH
from runtime.web.headers import raw_path
from runtime.web.problems import ApiError

CustomerIdText: TypeAlias = Annotated[str, PathParameter(description="UUID of a customer.")]

EXTERNAL_PATHS: Final = [
    f"{BASE_PATH}/customers/external/{{external_id:path}}",
    # Litestar strips slashes, so an empty or all-slash external_id arrives here.
    f"{BASE_PATH}/customers/external",
]

_STEPS: Final = f"{BASE_PATH}/customers/external".encode().split(b"/")[1:]
_BAD_PERCENT: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def read_customer_id(text: str) -> UUID:
    """The id in a path; raises ApiError 400 when it is no UUID in its usual form."""
    try:
        customer_id = UUID(text)
    except ValueError:
        customer_id = None
    if customer_id is None or str(customer_id) != text.lower():
        message = "A customer's id is a UUID such as 01939c2e-7c1f-7d43-8f6a-0b6f5f3a9d21."
        _refuse(message, "invalid_id", "customer_id")
    return customer_id


def read_external_id(scope: Scope, length_max: int) -> str:
    """The external_id in a path, all that follows `/external/`; raises ApiError 400.

    Read from the path as it was sent: decoded, `%2F` is a slash like those that part a path, and
    the framework drops those that are doubled or at the end.
    """
    raw = _after_external(raw_path(scope).encode("latin-1"))
    if _BAD_PERCENT.search(raw):
        _refuse("A % in a path begins two hexadecimal digits; send %25 for itself.", "malformed")
    try:
        external_id = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        _refuse("The path is not UTF-8 once its percent-encoding is undone.", "invalid_utf8")
    if not external_id:
        _refuse("At least 1 character must follow /external/.", "too_short")
    if len(external_id) > length_max:
        length = len(external_id)
        message = f"The external_id in the path has {length} characters; at most {length_max}."
        _refuse(message, "too_long")
    if CONTROL.search(external_id):
        _refuse("The external_id in the path holds control characters.", "control_character")
    return external_id


def path_steps(scope: Scope) -> list[bytes]:
    """What stands between the slashes of the path; one that is percent-encoded parts nothing."""
    raw = raw_path(scope).encode("latin-1")
    return [unquote_to_bytes(step) for step in raw.split(b"/") if step]


def one_spelling(scope: Scope) -> bytes:
    """The path in the one spelling of all that lead to the same resource.

    Percent-encoding, doubled slashes, one at the end and the case of a UUID make no difference,
    except to an external_id: of that only the percent-encoding does not count.
    """
    raw = raw_path(scope).encode("latin-1")
    steps = path_steps(scope)
    if steps[: len(_STEPS)] == _STEPS:
        return b"/".join([*_STEPS, unquote_to_bytes(_after_external(raw))])
    return b"/".join(steps).lower()


def _after_external(path: bytes) -> bytes:
    """What follows /customers/external/ in the raw path.

    The steps before may be parted by doubled slashes, and be percent-encoded.
    """
    steps = path.split(b"/")
    first = [at for at, step in enumerate(steps) if step][: len(_STEPS)]
    if [unquote_to_bytes(steps[at]) for at in first] != _STEPS:
        _refuse("The slashes before the external_id must not be percent-encoded.", "malformed")
    return b"/".join(steps[first[-1] + 1 :])


def _refuse(message: str, code: str, field: str = "external_id") -> NoReturn:
    error = FieldError(field=field, error=message, code=code)
    raise ApiError(400, message, errors=[error])
