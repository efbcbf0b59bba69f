"""From a bulk request to its command: every row read by itself, so that a bad one fails alone."""

from itertools import chain
from typing import Final

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from command_side.bulk import ROWS_MAX
from command_side.bulk_body import Rows, parse_rows
from command_side.commands import BulkRow, BulkUpsert, Origin
from command_side.customer import rules_broken
from command_side.errors import InvalidFields
from command_side.fields import read_changes, read_external_id, read_if_version
from command_side.idempotency import KeyedRequest
from command_side.quick_fields import read_quickly
from command_side.requests import read_incoming, refuse_unreadable
from command_side.unknown import BULK_BODY, unknown_errors, unknown_warnings
from events.customer import CustomerData
from runtime.field_error import FieldError
from runtime.web.json_body import BULK_LIMIT
from runtime.web.problems import AnyRequest, ApiError
from runtime.web.strict_json import read_members

MEMBER: Final = "customers"
FLAGS: Final = ("atomic", "dry_run")


class BulkRequest(Struct, frozen=True, kw_only=True):
    """A request to write many customers."""

    origin: Origin
    keyed: KeyedRequest | None
    is_strict: bool
    atomic: bool
    dry_run: bool
    sent: Rows | None
    """None when the body cannot be split into rows: `unreadable` says why."""
    rows: tuple[BulkRow, ...]
    unreadable: ApiError | None
    errors: tuple[FieldError, ...]
    """What is wrong around the rows."""
    unknown: tuple[str, ...]
    """Members of the rows that are no fields."""
    other_warnings: tuple[str, ...]
    """What was ignored around the rows."""

    def command(self) -> BulkUpsert:
        """What is wished; raises all that is wrong around the rows: ApiError, InvalidFields."""
        refuse_unreadable(self.unreadable, self.errors)
        if self.errors:
            raise InvalidFields(self.errors)
        return BulkUpsert(
            rows=self.rows, atomic=self.atomic, dry_run=self.dry_run, is_strict=self.is_strict
        )

    def warnings(self, is_strict: bool) -> tuple[str, ...]:
        """What the answer says was ignored, for rows that were read like this."""
        return self.other_warnings + (() if is_strict else unknown_warnings(self.unknown))

    def read_again(self, is_strict: bool) -> tuple[BulkRow, ...]:
        """The rows as they are to be read when this was, or was not, preferred."""
        if self.sent is None or is_strict == self.is_strict:
            return self.rows
        return tuple(reading.row for reading in _read_rows(self.sent, is_strict))


async def read_bulk(request: AnyRequest) -> BulkRequest:
    """Read a request to write many customers; raises nothing that is wrong with it."""
    incoming = await read_incoming(request, has_body=True, limit=BULK_LIMIT, flags=FLAGS)
    unreadable = incoming.unreadable
    sent: Rows | None = None
    readings: list[_RowReading] = []
    errors, warnings = incoming.request_errors, incoming.warnings
    if incoming.body is not None:
        try:
            sent = parse_rows(incoming.body, member=MEMBER, most=ROWS_MAX)
        except ApiError as refused:
            unreadable = unreadable or refused
    if sent is not None:
        readings = _read_rows(sent, incoming.is_strict)
        errors += unknown_errors(sent.others, kind=BULK_BODY) if incoming.is_strict else ()
        warnings += unknown_warnings(sent.others, BULK_BODY)
    unknown = chain.from_iterable(reading.unknown for reading in readings)
    return BulkRequest(
        origin=incoming.origin,
        keyed=incoming.keyed,
        is_strict=incoming.is_strict,
        atomic="atomic" in incoming.flags,
        dry_run="dry_run" in incoming.flags,
        sent=sent,
        rows=tuple(reading.row for reading in readings),
        unreadable=unreadable,
        errors=errors,
        unknown=tuple(dict.fromkeys(unknown)),
        other_warnings=warnings,
    )


class _RowReading(Struct, frozen=True):
    row: BulkRow
    unknown: tuple[str, ...]


def _read_rows(sent: Rows, is_strict: bool) -> list[_RowReading]:
    return [
        _read_row(index, row, f"{sent.pointer}/{index}", is_strict)
        for index, row in enumerate(sent.rows)
    ]


def _read_row(index: int, row: bytes, pointer: str, is_strict: bool) -> _RowReading:
    changes = read_quickly(row)
    if changes is not None and changes.external_id:
        external_id = changes.external_id
        quick = BulkRow(index=index, pointer=pointer, external_id=external_id, changes=changes)
        return _RowReading(quick, ())
    try:
        members, faults = read_members(row, pointer=pointer)
    except ApiError as refused:
        return _RowReading(_unreadable_row(index, row, pointer, refused.errors), ())
    if_version = read_if_version(members.pop("if_version", None), pointer)
    reading = read_changes(members, pointer)
    errors = (
        *faults,
        *reading.errors,
        *((if_version,) if isinstance(if_version, FieldError) else ()),
        *(unknown_errors(reading.unknown, pointer) if is_strict else ()),
    )
    external_id, errors = _read_external_id(members, errors, pointer)
    read = BulkRow(
        index=index,
        pointer=pointer,
        external_id=external_id,
        changes=reading.changes,
        if_version=None if isinstance(if_version, FieldError) else if_version,
        errors=errors,
    )
    if external_id is None:
        broken = rules_broken(CustomerData(), read.changes, errors, pointer)
        read = replace(read, errors=broken, readable=False)
    return _RowReading(read, reading.unknown)


def _unreadable_row(
    index: int, row: bytes, pointer: str, errors: tuple[FieldError, ...]
) -> BulkRow:
    return BulkRow(
        index=index,
        pointer=pointer,
        external_id=_legible_external_id(row),
        errors=tuple(replace(error, pointer=error.pointer or pointer) for error in errors),
        readable=False,
    )


def _read_external_id(
    members: dict[str, Raw], errors: tuple[FieldError, ...], pointer: str
) -> tuple[str | None, tuple[FieldError, ...]]:
    """The external_id of a row, or None and the errors with the one that says why."""
    external_id = read_external_id(members.get("external_id"), pointer)
    if not isinstance(external_id, FieldError):
        return external_id, errors
    if any(error.field == "external_id" for error in errors):
        return None, errors
    return None, (external_id, *errors)


class _Named(Struct):
    external_id: str | None = None


def _legible_external_id(row: bytes) -> str | None:
    """Whose row it seems to be, for the answer about a row that cannot be read."""
    try:
        return msgspec.json.decode(row, type=_Named).external_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
