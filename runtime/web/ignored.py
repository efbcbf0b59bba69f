"""Unknown members and parameters: warned about, or refused.

However many there are, an answer names the first twenty and counts the others.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

_NAMED_MAX: Final = 20
_NAME_MAX: Final = 60

T = TypeVar("T")


def shown(name: str) -> str:
    """A name as answers show it: one that is long is cut."""
    return name if len(name) <= _NAME_MAX else f"{name[:_NAME_MAX]}…"


def tell_first(
    names: Sequence[str], tell: Callable[[str], T], tell_rest: Callable[[int], T]
) -> list[T]:
    """What `tell` makes of each name; for those past the 20th `tell_rest` gets their number.

    `tell` gets the name as it was sent; `shown` makes it fit for a sentence.
    """
    made = [tell(name) for name in names[:_NAMED_MAX]]
    if len(names) > _NAMED_MAX:
        made.append(tell_rest(len(names) - _NAMED_MAX))
    return made


def warn_of_ignored(names: Sequence[str], tell: Callable[[str], str], others: str) -> list[str]:
    """A sentence on each name, made by `tell`; those that are only counted are called `others`."""
    return tell_first(names, tell, lambda rest: f"{rest} more {others} were ignored.")


def warnings_meta(warnings: Sequence[str]) -> dict[str, object]:
    """What of `meta` says what was ignored."""
    return {"warnings": list(warnings)} if warnings else {}
