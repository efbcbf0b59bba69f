"""Blots out what opens doors, wherever it got into a text."""

import re
from typing import Final

_SECRET: Final = re.compile(
    r"sk_(?:live|test)_[\w-]+"
    r"|whsec_[\w+/=-]+"
    # User and password of a URL; what follows the last @ of several is the host.
    r"|(?<=://)[^/\s\"']+@"
    r"|(?<=password=)(?:'[^']*'|[^\s&\"']+)"
)


def mask(text: str) -> str:
    """The text, with *** for API keys, and for users and passwords in addresses."""
    return _SECRET.sub("***", text)
