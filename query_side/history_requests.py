"""What a call for a customer's history asks for: from which version on, how much, in which form."""

from typing import Final

from litestar.types import Scope

from events.envelope import StreamVersion, WorkspaceId
from events.history import VERSION_MAX
from events.token import Tokens
from query_side.freshness import Demand
from query_side.requests import PathRequest, read_demand
from runtime.field_error import FieldError
from runtime.web.preferences import heed_handling
from runtime.web.problems import ApiError
from runtime.web.query_string import ParameterReader, read_parameters

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 500
FORMATS: Final = ("json", "csv")


class HistoryRequest(PathRequest, frozen=True, kw_only=True):
    """Which part of a history a call asks for."""

    after: StreamVersion
    limit: int
    is_csv: bool


def read_history(scope: Scope, workspace_id: WorkspaceId, tokens: Tokens) -> HistoryRequest:
    """What a call asks for; raises nothing that is wrong with it.

    A token makes nobody wait: the log itself is read, which has all that was written.
    """
    try:
        reader = ParameterReader(read_parameters(scope["query_string"]))
    except ApiError as refused:
        return _refused(refused.errors)
    is_csv = _read_format(reader)
    after = 0 if is_csv else reader.number("after", 0, VERSION_MAX, least=0)
    limit = LIMIT_MAX if is_csv else reader.number("limit", LIMIT_DEFAULT, LIMIT_MAX)
    demand = read_demand(scope, workspace_id, reader, tokens)
    try:
        warnings = reader.finish(strict=heed_handling(scope))
    except ApiError as refused:
        return _refused(refused.errors)
    return HistoryRequest(
        demand=demand,
        warnings=warnings,
        after=StreamVersion(after),
        limit=limit,
        is_csv=is_csv,
        errors=(),
    )


def _read_format(reader: ParameterReader) -> bool:
    text = reader.one("format")
    if text not in (None, *FORMATS):
        reader.refuse("format", f"format must be {' or '.join(FORMATS)}.", "unknown_value")
    is_csv = text == "csv"
    for name in ("after", "limit") if is_csv else ():
        why = f"{name} is not possible with format=csv: that holds the whole history."
        reader.exclude(name, why)
    return is_csv


def _refused(errors: tuple[FieldError, ...]) -> HistoryRequest:
    return HistoryRequest(
        demand=Demand(),
        warnings=[],
        after=StreamVersion(0),
        limit=1,
        is_csv=False,
        errors=errors,
    )
