"""Values of options that more than one command takes."""

import re
from datetime import datetime
from typing import Final, TypeVar

import rich_click as click

from events.envelope import Position
from runtime.clock import MOMENT, moment_of

T = TypeVar("T")
_NUMBER: Final = re.compile("[1-9][0-9]{0,17}")


class NumberOrMoment(click.ParamType[int | datetime]):
    """A number from 1 of something, or a moment in RFC 3339."""

    name = "number or time"

    def __init__(self, number_of: str) -> None:
        self._number_of = number_of

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | datetime:
        """The number, or the moment in UTC; a wrong use of the command when it is neither."""
        text = str(value)
        if _NUMBER.fullmatch(text) is not None:
            return int(text)
        match = MOMENT.fullmatch(text)
        if match is None:
            wanted = f"a {self._number_of} from 1 on, nor a moment like 2026-03-03T18:00:00Z"
            self.fail(f"{value!r} is neither {wanted}.", param, ctx)
        return _moment(self, match, param, ctx)


class PositionType(click.ParamType[Position]):
    """A place in the log."""

    name = "position"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Position:
        """The number; a wrong use of the command when it is none."""
        if _NUMBER.fullmatch(str(value)) is None:
            self.fail(f"{value!r} is no position: a number from 1.", param, ctx)
        return Position(int(str(value)))


class MomentType(click.ParamType[datetime]):
    """A moment in RFC 3339."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The moment in UTC; a wrong use of the command when it is none."""
        match = MOMENT.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no moment like 2026-03-03T18:00:00Z.", param, ctx)
        return _moment(self, match, param, ctx)


A_POSITION: Final = PositionType()
A_MOMENT: Final = MomentType()


def _moment(
    wanted: click.ParamType[T],
    match: re.Match[str],
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> datetime:
    try:
        return moment_of(match)
    except (ValueError, OverflowError):
        wanted.fail(f"{match[0]!r} is in no calendar.", param, ctx)
