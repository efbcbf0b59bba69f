"""The query string of a request: read strictly, and everything that is wrong with it at once."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from runtime.field_error import FieldError
from runtime.web.problems import ApiError

VALUES_MAX: Final = 100
_PARAMETERS_MAX: Final = 1000
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
        raise ApiError(400, "The query string is not UTF-8.") from None
    except ValueError:
        words = f"The query string has more than {_PARAMETERS_MAX} parameters."
        raise ApiError(400, words) from None
    for name, value in pairs:
        parameters.setdefault(name, []).append(value)
    return parameters


class ParameterReader:
    """Reads parameters and collects everything that is wrong with them."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self.errors: list[FieldError] = []

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number from 1 to `most`."""
        text = self.one(name)
        if text is None:
            return default
        if _WHOLE_NUMBER.fullmatch(text) is None:
            self.refuse(name, f"{name} must be a whole number from 1 to {most}.", "not_a_number")
            return default
        # Python itself refuses to read numbers of thousands of digits.
        number = int(text) if len(text) <= len(str(most)) + 10 else 0
        if not 1 <= number <= most:
            self.refuse(name, f"{name} must be from 1 to {most}.", "out_of_range")
            return default
        return number

    def one(self, name: str) -> str | None:
        """A parameter that may be given once."""
        values = self._parameters.get(name)
        if values is None:
            return None
        if len(values) > 1:
            self.refuse(name, f"{name} is given {len(values)} times; give it once.", "repeated")
        return values[0]

    def many(self, name: str) -> list[list[str]]:
        """Comma-separated values for each time the parameter is given, without blanks."""
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

    def eventual(self) -> bool:
        """Whether the read may be behind."""
        text = self.one("consistency")
        if text not in (None, "eventual"):
            words = "consistency can only be `eventual`; without it a read shows every write."
            self.refuse("consistency", words, "unknown_value")
        return text == "eventual"

    def refuse(self, name: str, error: str, code: str) -> None:
        """Note something wrong with a parameter."""
        self.errors.append(FieldError(field=name, error=error, code=code))

    def finish(self) -> None:
        """Raise ApiError 400 naming everything that is wrong, if anything is."""
        if self.errors:
            message = " ".join(error.error for error in self.errors)
            raise ApiError(400, message, errors=self.errors)
