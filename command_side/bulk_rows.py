"""From the rows of a bulk body to the command, and to the rows that fail before it."""

from command_side.bulk import RowFailed
from command_side.commands import BulkRow, BulkUpsert
from command_side.fields import read_changes, read_external_id
from runtime.field_error import FieldError
from runtime.web.bulk_json import Rows
from runtime.web.problems import ApiError
from runtime.web.strict_json import parse_object


def read_rows_of(rows: Rows) -> tuple[BulkUpsert, list[RowFailed], list[str]]:
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
    return BulkUpsert(rows=tuple(readable)), failed, list(unknown)


def _read_row(
    index: int, row: bytes, pointer: str, unknown: dict[str, None]
) -> BulkRow | RowFailed:
    try:
        members = parse_object(row, pointer=pointer)
    except ApiError as refused:
        errors = tuple(
            FieldError(
                field=error.field,
                error=error.error,
                code=error.code,
                pointer=error.pointer or pointer,
            )
            for error in refused.errors
        )
        return RowFailed(index=index, external_id=None, errors=errors)
    external_id = read_external_id(members.get("external_id"), pointer)
    reading = read_changes(members, pointer)
    unknown.update(dict.fromkeys(reading.unknown))
    if isinstance(external_id, FieldError):
        others = tuple(error for error in reading.errors if error.field != "external_id")
        return RowFailed(index=index, external_id=None, errors=(external_id, *others))
    if reading.errors:
        return RowFailed(index=index, external_id=external_id, errors=reading.errors)
    return BulkRow(index=index, pointer=pointer, external_id=external_id, changes=reading.changes)
