"""What a request says that nobody asks for: ignored and told in `meta.warnings`, or refused.

Both sides use it: for the members of a body and for the parameters of an address. However much
there is of it, an answer names the first twenty and counts the others.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

_TOLD_MAX: Final = 20
_NAME_MAX: Final = 60

Told = TypeVar("Told")


def shown(name: str) -> str:
    """A name as it is told: one that is long is cut."""
    return name if len(name) <= _NAME_MAX else f"{name[:_NAME_MAX]}…"


def tell_first(
    names: Sequence[str], tell: Callable[[str], Told], tell_rest: Callable[[int], Told]
) -> list[Told]:
    """What `tell` makes of each name; for those past the 20th `tell_rest` gets their number.

    `tell` gets the name as it was sent; `shown` makes it fit for a sentence.
    """
    told = [tell(name) for name in names[:_TOLD_MAX]]
    if len(names) > _TOLD_MAX:
        told.append(tell_rest(len(names) - _TOLD_MAX))
    return told


def warn_of_ignored(names: Sequence[str], tell: Callable[[str], str], others: str) -> list[str]:
    """A sentence on each name, made by `tell`; those that are only counted are called `others`."""
    return tell_first(names, tell, lambda rest: f"{rest} more {others} were ignored.")
