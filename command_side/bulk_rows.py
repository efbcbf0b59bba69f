"""From the rows of a bulk body to the command, and to the rows that fail before it."""

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from command_side.bulk import RowFailed
from command_side.commands import BulkRow
from command_side.customer import rules_broken
from command_side.fields import read_changes, read_external_id
from events.customer import CustomerData
from runtime.field_error import FieldError
from runtime.web.bulk_json import Rows
from runtime.web.problems import ApiError
from runtime.web.query_string import ParameterReader, read_parameters
from runtime.web.strict_json import parse_object


class BulkOptions(Struct, frozen=True, kw_only=True):
    """How a bulk call wants to be treated."""

    atomic: bool = False
    dry_run: bool = False


def read_bulk_options(query_string: bytes) -> BulkOptions:
    """`?atomic=true` and `?dry_run=true`; raises ApiError 400 for any other value of them."""
    reader = ParameterReader(read_parameters(query_string))
    options = BulkOptions(atomic=reader.flag("atomic"), dry_run=reader.flag("dry_run"))
    reader.finish()
    return options


def read_rows_of(rows: Rows) -> tuple[tuple[BulkRow, ...], list[RowFailed], list[str]]:
    """The rows that can be decided, those that cannot, and the names that are no fields."""
    readable: list[BulkRow] = []
    failed: list[RowFailed] = []
    unknown = dict.fromkeys(rows.others)
    for index, row in enumerate(rows.rows):
        read = _read_row(index, row, f"{rows.pointer}/{index}", unknown)
        if isinstance(read, BulkRow):
            readable.append(read)
        else:
            failed.append(read)
    return tuple(readable), failed, list(unknown)


def _read_row(
    index: int, row: bytes, pointer: str, unknown: dict[str, None]
) -> BulkRow | RowFailed:
    try:
        members = parse_object(row, pointer=pointer)
    except ApiError as refused:
        errors = tuple(replace(error, pointer=error.pointer or pointer) for error in refused.errors)
        return RowFailed(index=index, external_id=_legible_external_id(row), errors=errors)
    external_id = read_external_id(members.get("external_id"), pointer)
    reading = read_changes(members, pointer)
    unknown.update(dict.fromkeys(reading.unknown))
    if isinstance(external_id, FieldError):
        others = tuple(error for error in reading.errors if error.field != "external_id")
        errors = rules_broken(CustomerData(), reading.changes, (external_id, *others), pointer)
        return RowFailed(index=index, external_id=None, errors=errors)
    return BulkRow(
        index=index,
        pointer=pointer,
        external_id=external_id,
        changes=reading.changes,
        errors=reading.errors,
    )


class _Named(Struct):
    external_id: str | None = None


def _legible_external_id(row: bytes) -> str | None:
    """Whose row it seems to be, for the answer about a row that cannot be read."""
    try:
        return msgspec.json.decode(row, type=_Named).external_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
