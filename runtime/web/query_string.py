"""The query string of a request: read strictly, and everything that is wrong with it at once."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NoReturn
from urllib.parse import parse_qsl

from runtime.clock import MOMENT, moment_of
from runtime.field_error import FieldError
from runtime.text import CONTROL
from runtime.web.ignored import shown, tell_first, warn_of_ignored
from runtime.web.problems import ApiError, invalid_request

VALUES_MAX: Final = 100
_PARAMETERS_MAX: Final = 1000
_QUERY: Final = "query"
_A_MOMENT: Final = "a moment in RFC 3339, such as 2026-01-31T12:00:00Z"
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]+")
Parameters = Mapping[str, list[str]]


def read_parameters(query_string: bytes) -> Parameters:
    """The parameters by name, in order; a `+` is a space. Raises ApiError 400."""
    if not query_string:
        return {}
    parameters: dict[str, list[str]] = {}
    try:
        # Bytes beyond ASCII belong percent-encoded, but some clients send them as they are.
        pairs = parse_qsl(
            query_string.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_PARAMETERS_MAX,
        )
    except UnicodeDecodeError:
        _refuse_all("The query string is not UTF-8; percent-encode it anew.", "invalid_utf8")
    except ValueError:
        _refuse_all(f"The query string has more than {_PARAMETERS_MAX} parameters.", "too_many")
    for name, value in pairs:
        parameters.setdefault(name, []).append(value)
    return parameters


class ParameterReader:
    """Reads parameters, and collects everything that is wrong with them.

    Ask for every parameter that the call knows, then `finish`.
    """

    def __init__(self, parameters: Parameters) -> None:
        unusable = [name for name in parameters if _has_control(name, *parameters[name])]
        self._parameters = dict(parameters)
        for name in unusable:
            del self._parameters[name]
        self._asked: set[str] = set()
        self.errors = tell_first(unusable, _unusable, _more_unusable)

    def number(self, name: str, default: int, most: int, *, least: int = 1) -> int:
        """A whole number from `least` to `most`."""
        text = self.one(name)
        if text is None:
            return default
        if _WHOLE_NUMBER.fullmatch(text) is None:
            message = f"{name} must be a whole number from {least} to {most}."
            self.refuse(name, message, "not_a_number")
            return default
        number = self._number(name, text, least, most)
        return default if number is None else number

    def one(self, name: str) -> str | None:
        """A parameter that may be given once."""
        self._asked.add(name)
        values = self._parameters.get(name)
        if values is None:
            return None
        if len(values) > 1:
            self.refuse(name, f"{name} is given {len(values)} times; give it once.", "repeated")
        return values[0]

    def many(self, name: str) -> list[list[str]]:
        """Comma-separated values for each time the parameter is given, without blanks."""
        self._asked.add(name)
        groups = [
            [part.strip() for part in value.split(",") if part.strip()]
            for value in self._parameters.get(name, [])
        ]
        if sum(map(len, groups)) > VALUES_MAX:
            self.refuse(name, f"{name} takes at most {VALUES_MAX} values.", "too_many")
            return []
        return [group for group in groups if group]

    def flag(self, name: str) -> bool:
        """A parameter that is `true` or `false`; false when it is not given."""
        text = self.one(name)
        if text not in (None, "true", "false"):
            self.refuse(name, f"{name} must be true or false.", "unknown_value")
        return text == "true"

    def moment(self, name: str) -> datetime | None:
        """A moment in RFC 3339, in UTC; digits beyond the microsecond are dropped."""
        text = self.one(name)
        return None if text is None else self._moment(name, text, _A_MOMENT)

    def number_or_moment(self, name: str, most: int, number_of: str) -> int | datetime | None:
        """A whole number from 1 to `most`, which is a `number_of` something, or a moment."""
        text = self.one(name)
        if text is None:
            return None
        if _WHOLE_NUMBER.fullmatch(text) is not None:
            return self._number(name, text, 1, most)
        return self._moment(name, text, f"a {number_of}, from 1 on, or {_A_MOMENT}")

    def _number(self, name: str, text: str, least: int, most: int) -> int | None:
        # Python itself refuses to read numbers of thousands of digits.
        number = int(text) if len(text) <= len(str(most)) + 10 else -1
        if least <= number <= most:
            return number
        self.refuse(name, f"{name} must be from {least} to {most}.", "out_of_range")
        return None

    def _moment(self, name: str, text: str, wanted: str) -> datetime | None:
        match = MOMENT.fullmatch(text)
        if match is None:
            self.refuse(name, f"{name} must be {wanted}.", "invalid_moment")
            return None
        try:
            return moment_of(match)
        except (ValueError, OverflowError):
            message = f"{name} is no moment that a calendar has between the years 1 and 9999."
            self.refuse(name, message, "out_of_range")
            return None

    def exclude(self, name: str, why: str) -> None:
        """Refuse a parameter that is known, but not together with others of this call."""
        self._asked.add(name)
        if name in self._parameters:
            self.refuse(name, why, "excluded")

    def refuse(self, name: str, error: str, code: str) -> None:
        """Note something wrong with a parameter."""
        self.errors.append(_error(name, error, code))

    def finish(self, *, strict: bool = False) -> list[str]:
        """Warnings of parameters that nobody asked for; `strict` takes these for errors.

        Raises ApiError 400 naming everything that is wrong, if anything is.
        """
        unknown = [name for name in self._parameters if name not in self._asked]
        if strict:
            self.errors += tell_first(unknown, _unknown, _more_unknown)
        if self.errors:
            raise invalid_request(self.errors)
        return warn_of_ignored(unknown, _ignored, "parameters")


def _refuse_all(message: str, code: str) -> NoReturn:
    raise ApiError(400, message, errors=[_error(_QUERY, message, code)]) from None


def _error(name: str, message: str, code: str) -> FieldError:
    return FieldError(field=name, error=message, code=code)


def _has_control(*texts: str) -> bool:
    return any(map(CONTROL.search, texts))


def _unusable(name: str) -> FieldError:
    return _error(name, f"{shown(name)} holds control characters.", "control_character")


def _more_unusable(rest: int) -> FieldError:
    return _error(_QUERY, f"{rest} more hold control characters.", "control_character")


def _unknown(name: str) -> FieldError:
    return _error(name, f"{shown(name)} is no parameter of this call.", "unknown_parameter")


def _more_unknown(rest: int) -> FieldError:
    return _error(_QUERY, f"{rest} more are no parameters of this call.", "unknown_parameter")


def _ignored(name: str) -> str:
    return f"{shown(name)} is no parameter of this call and was ignored."
