"""Faults of lines: each connection is cut, delayed, left hanging, half open, or loses answers."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from tests.faults.faults import Fault, register
from tests.faults.lines import Line
from tests.faults.system import PROCESSES, System

_DELAYS: Final = (0.05, 0.3, 1.5)


def _cut(line: Line, _system: System) -> None:
    line.cut()


def _delay(line: Line, system: System) -> None:
    line.delay(system.chance.choice(_DELAYS))


def _hang(line: Line, _system: System) -> None:
    line.hang()


def _half_open(line: Line, _system: System) -> None:
    line.half_open()


def _lose_answers(line: Line, _system: System) -> None:
    line.lose_answers()


_WAYS: Final[dict[str, tuple[str, Callable[[Line, System], None]]]] = {
    "cut": ("is cut: connections are reset, new ones refused", _cut),
    "delay": ("brings every piece late", _delay),
    "hang": ("stands, and nothing arrives either way", _hang),
    "half-open": ("is half open: the server has hung up, and nobody is told", _half_open),
    "deaf": ("brings what is asked, and no answer", _lose_answers),
}


def _hurting(way: str, one: str, other: str) -> Fault:
    about, hurt = _WAYS[way]

    @asynccontextmanager
    async def inject(system: System) -> AsyncGenerator[None]:
        lines = system.lines(one, other)
        for line in lines:
            hurt(line, system)
        try:
            yield
        finally:
            for line in lines:
                line.heal()

    return Fault(
        name=f"{way}-{one}-{other}",
        about=f"the line from {one} to {other} {about}",
        inject=inject,
        longest=20.0,
    )


PAIRS: Final = (
    ("client", "api"),
    *((kind, to) for kind in ("api", "relay", "projector") for to in ("postgres", "nats")),
    # One of two: the other may take over, and both may believe that it is their turn.
    *((name, to) for name in PROCESSES if "-" in name for to in ("postgres", "nats")),
)

for _one, _other in PAIRS:
    for _way in _WAYS:
        register(_hurting(_way, _one, _other))
