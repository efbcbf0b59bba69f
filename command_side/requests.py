"""What a request to write says: all of it read at once, and refused later for what is wrong.

Whether there is such a customer at all is answered before what is wrong with the request. So
faults are collected here, and raised by `check` when the customer is known.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from litestar.types import Scope
from msgspec import Struct

from command_side.commands import CustomerChanges, Origin
from command_side.customer import rules_broken
from command_side.errors import InvalidFields
from command_side.fields import Reading, read_changes
from command_side.handler import Terms
from command_side.idempotency import Claim, KeyedRequest
from command_side.idempotency_key import read_idempotency_key
from command_side.quick_fields import read_quickly
from command_side.unknown import unknown_errors, unknown_warnings
from events.customer import CustomerData
from events.envelope import WorkspaceId
from runtime.conditions import Conditions
from runtime.field_error import FieldError
from runtime.web.authentication import principal_of
from runtime.web.conditions import IF_MATCH, IF_NONE_MATCH, read_conditions
from runtime.web.context import read_context
from runtime.web.json_body import OBJECT_LIMIT, check_type, read_bytes
from runtime.web.paths import one_spelling
from runtime.web.preferences import heed_handling
from runtime.web.problems import AnyRequest, ApiError
from runtime.web.query_string import ParameterReader, read_parameters
from runtime.web.strict_json import read_members

_NOTHING_READ: Final = Reading(changes=CustomerChanges(), errors=(), unknown=())

Id = TypeVar("Id")


class Incoming(Struct, frozen=True, kw_only=True):
    """A request as it came in: headers and parameters read, the body not yet understood."""

    origin: Origin
    is_strict: bool
    """Whether what is not known is refused."""
    flags: frozenset[str]
    """The parameters that are `true`."""
    keyed: KeyedRequest | None
    body: bytes | None
    """None when nobody wants it, or when it is too long."""
    unreadable: ApiError | None
    """Why the request as a whole cannot be read."""
    request_errors: tuple[FieldError, ...]
    """What is wrong with headers and parameters."""
    warnings: tuple[str, ...]


class WriteRequest(Struct, frozen=True, kw_only=True):
    """A request to write one customer."""

    origin: Origin
    keyed: KeyedRequest | None
    is_strict: bool
    """Whether what is not known is refused."""
    conditions: Conditions
    changes: CustomerChanges
    """Without the members that have an error."""
    unreadable: ApiError | None
    body_errors: tuple[FieldError, ...]
    """What is wrong with the members of the body."""
    request_errors: tuple[FieldError, ...]
    """What is wrong with headers and parameters."""
    warnings: tuple[str, ...]

    def terms(self, claim: Claim | None) -> Terms:
        """The terms on which the command of this request runs."""
        return Terms(
            check=self.check, conditions=self.conditions, claim=claim, is_strict=self.is_strict
        )

    def read_path(self, read: Callable[[], Id]) -> Id:
        """The id in the path, as `read` finds it.

        Nobody can be looked for under a malformed one, so with it all that is wrong is raised:
        ApiError, InvalidFields.
        """
        try:
            return read()
        except ApiError as refused:
            beside = refused.errors + self.request_errors
            refuse_unreadable(self.unreadable, beside)
            raise InvalidFields(self.body_errors + beside) from None

    def check(self, before: CustomerData) -> None:
        """Raises all that is wrong with the request: ApiError, InvalidFields."""
        refuse_unreadable(self.unreadable, self.request_errors)
        if self.body_errors or self.request_errors:
            broken = rules_broken(before, self.changes, self.body_errors, "")
            raise InvalidFields(broken + self.request_errors)


async def read_write_request(
    request: AnyRequest, *, has_body: bool = True, is_conditional: bool = True
) -> WriteRequest:
    """Read a request to write one customer; raises nothing that is wrong with it."""
    incoming = await read_incoming(request, has_body=has_body)
    names = (IF_MATCH, IF_NONE_MATCH) if is_conditional else ()
    conditions, condition_errors = read_conditions(request.scope, *names)
    unreadable = incoming.unreadable
    reading, faults = _NOTHING_READ, ()
    if has_body and incoming.body is not None:
        try:
            reading, faults = _read_object(incoming.body)
        except ApiError as refused:
            unreadable = unreadable or refused
    unknown = unknown_errors(reading.unknown) if incoming.is_strict else ()
    return WriteRequest(
        origin=incoming.origin,
        keyed=incoming.keyed,
        is_strict=incoming.is_strict,
        conditions=conditions,
        changes=reading.changes,
        unreadable=unreadable,
        body_errors=(*faults, *reading.errors, *unknown),
        request_errors=incoming.request_errors + condition_errors,
        warnings=incoming.warnings + unknown_warnings(reading.unknown),
    )


def _read_object(body: bytes) -> tuple[Reading, Sequence[FieldError]]:
    """What the members of the body say, and what is wrong with the JSON; raises ApiError."""
    changes = read_quickly(body)
    if changes is not None:
        return Reading(changes=changes, errors=(), unknown=()), ()
    members, faults = read_members(body)
    return read_changes(members), faults


async def read_incoming(
    request: AnyRequest, *, has_body: bool, limit: int = OBJECT_LIMIT, flags: Sequence[str] = ()
) -> Incoming:
    """Read headers, the parameters of these names, and the bytes of the body."""
    scope = request.scope
    errors: list[FieldError] = []
    origin = _read_origin(scope, errors)
    key = read_idempotency_key(scope)
    if isinstance(key, FieldError):
        errors.append(key)
        key = None
    is_strict = heed_handling(scope)
    body, unreadable = await _read_body(request, limit, is_wanted=has_body, is_keyed=bool(key))
    wished: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    try:
        reader = ParameterReader(read_parameters(scope["query_string"]))
        wished = frozenset([name for name in flags if reader.flag(name)])
        warnings = tuple(reader.finish(strict=is_strict))
    except ApiError as refused:
        errors.extend(refused.errors)
    return Incoming(
        origin=origin,
        is_strict=is_strict,
        flags=wished,
        keyed=None if key is None else _keyed(request, origin.workspace_id, key, body),
        body=body,
        unreadable=unreadable,
        request_errors=tuple(errors),
        warnings=warnings,
    )


def refuse_unreadable(unreadable: ApiError | None, errors: tuple[FieldError, ...]) -> None:
    """Raises ApiError for a request that cannot be read, with what else is wrong with it."""
    if unreadable is None:
        return
    if unreadable.status != 400:
        raise unreadable
    raise ApiError(400, unreadable.message, errors=unreadable.errors + errors)


async def _read_body(
    request: AnyRequest, limit: int, *, is_wanted: bool, is_keyed: bool
) -> tuple[bytes | None, ApiError | None]:
    """The body and why it cannot be taken; a keyed request is compared whatever it claims to be."""
    refusal = None
    try:
        if is_wanted:
            check_type(request.scope)
    except ApiError as refused:
        refusal = refused
    if not is_keyed and (refusal is not None or not is_wanted):
        return None, refusal
    try:
        return await read_bytes(request, limit), refusal
    except ApiError as refused:
        return None, refusal or refused


def _read_origin(scope: Scope, errors: list[FieldError]) -> Origin:
    principal = principal_of(scope)
    context, unkept = read_context(scope)
    errors.extend(unkept)
    return Origin(
        workspace_id=WorkspaceId(principal.workspace_id),
        api_key_id=str(principal.key_id),
        actor=context.actor,
        reason=context.reason,
        request_id=context.request_id,
        traceparent=context.traceparent,
    )


def _keyed(
    request: AnyRequest, workspace_id: WorkspaceId, key: bytes, body: bytes | None
) -> KeyedRequest:
    return KeyedRequest(
        workspace_id=workspace_id,
        key=key,
        method=request.method.encode("latin-1"),
        path=one_spelling(request.scope),
        query=request.scope["query_string"],
        body=body,
    )
