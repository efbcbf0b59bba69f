"""What can go wrong, by name: each fault is injected, lasts, and is healed."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Final

from msgspec import Struct

from tests.faults.system import System

OWN_MARKER: Final = "fault-"
"""So begins the X-Request-Id of what a fault asks for itself, and no client of the load."""

FOREIGN: Final = b"nobody's event"
"""What a fault publishes itself, which therefore is in no event."""


def _nothing() -> str:
    return ""


class Fault(Struct, frozen=True, kw_only=True):
    """One way in which the service is hurt."""

    name: str
    about: str
    """One sentence."""
    inject: Callable[[System], AbstractAsyncContextManager[None]]
    """Hurt the system; the end of the block heals it. What it chooses, `system.chance` decides."""
    shortest: float = 1.0
    longest: float = 5.0
    """Seconds between which chance decides how long it lasts."""
    is_alone: bool = False
    """Whether no other fault may be there at the same time, nor come after it in one run."""
    is_clustered: bool = False
    """Whether it hurts a cluster, which is a system of its own kind."""

    owns: tuple[str, ...] = ()
    """Servers that nobody else may stop or cut off at the same time."""
    lacking: Callable[[], str] = _nothing
    """What this machine lacks for it, in words; empty when it can be injected here."""

    def goes_with(self, other: "Fault") -> bool:
        """Whether both may be there at the same time."""
        return not any(
            server in theirs.owns or theirs.name.endswith(server)
            for ours, theirs in ((self, other), (other, self))
            for server in ours.owns
        )

    def seconds(self, chance: Random, most: float) -> float:
        """How long it lasts this time, and not longer than this."""
        longest = min(self.longest, most)
        return chance.uniform(min(self.shortest, longest), longest)


FAULTS: Final[dict[str, Fault]] = {}
"""All there are, by name."""


def register(*faults: Fault) -> None:
    """Make faults known by their names."""
    for fault in faults:
        assert fault.name not in FAULTS, fault.name
        FAULTS[fault.name] = fault
