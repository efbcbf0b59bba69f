"""Accept (RFC 9110, 12.5.1), as far as it is heeded: a failure may be `application/problem+json`.

Nothing is ever refused for it: who cannot read JSON gets JSON all the same.
"""

import re
from typing import Final

from litestar.types import Scope

from runtime.web.headers import header

JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"
_RANGE: Final = re.compile(
    r"[ \t]*([^ \t;,/]+/[^ \t;,]+)[ \t]*(?:;.*?q[ \t]*=[ \t]*([01](?:\.[0-9]{0,3})?))?.*",
    re.IGNORECASE | re.DOTALL,
)
# The most specific first: that one counts.
_JSON_RANGES: Final = (JSON, "application/*", "*/*")


def media_type_of_failure(scope: Scope) -> str:
    """`application/problem+json` when it is named in Accept and JSON is not preferred to it."""
    liked: dict[str, float] = {}
    for element in (header(scope, b"accept") or b"").decode("latin-1").split(","):
        match = _RANGE.fullmatch(element)
        if match is not None:
            liked[match[1].lower()] = float(match[2] or 1)
    problem = liked.get(PROBLEM_JSON, 0.0)
    plain = next((liked[name] for name in _JSON_RANGES if name in liked), 0.0)
    return PROBLEM_JSON if problem > 0 and problem >= plain else JSON
