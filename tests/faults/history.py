"""What was asked and what was answered, and when: as JSON lines, and what a violation prints."""

import re
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, field

_EXCERPT_LINES: Final = 40
_AROUND_SECONDS: Final = 20.0


class Violation(Struct, frozen=True, kw_only=True):
    """Something promised that did not hold."""

    check: str
    words: str
    about: tuple[str, ...] = ()
    """Ids and markers that the lines of the history which tell of it hold."""


class Write(Struct, kw_only=True):
    """One write of a client, sent until it was answered."""

    marker: str
    """Its Idempotency-Key and its X-Request-Id, which stands in the events that it makes."""
    workspace: str
    client: str
    kind: str
    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict[str, str])
    refusals: tuple[int, ...] = ()
    """Statuses that may refuse it, for what others did."""
    attempts: int = 0
    asked_at: float = 0.0
    answered_at: float | None = None
    status: int | None = None
    data: Any = None
    version: int | None = None
    token: str | None = None
    was_replayed: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it was answered with 2xx: what counts as acknowledged."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def customer(self) -> str:
        """The one it is about, as far as is known."""
        if isinstance(self.data, dict) and "id" in self.data:
            return str(self.data["id"])
        return (
            ""
            if self.path.startswith(("/customers/external", "/customers/bulk"))
            else (self.path.split("/")[2] if self.path.count("/") > 1 else "")
        )


class History:
    """Everything that happened, in a file; writes, and moments of success, also in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writes: list[Write] = []
        self.violations: list[Violation] = []
        self.written_at: list[float] = []
        """When writes were acknowledged."""
        self.fresh_at: list[float] = []
        """When reads were answered that showed everything written before them."""
        self.refused_at: list[float] = []
        """When writes were answered that the service cannot do them now."""
        self.statuses: dict[str, int] = {}
        """How often each status, or failure of the connection, was an attempt's outcome."""
        self._began = time.monotonic()
        self._file = path.open("ab")

    def close(self) -> None:
        """Write down what is left."""
        self._file.close()

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def note(self, what: str, **more: object) -> None:
        """Note something that happened now."""
        line = {"at": round(self.now, 4), "what": what} | more
        self._file.write(msgspec.json.encode(line, enc_hook=str) + b"\n")

    def count(self, outcome: str) -> None:
        """Count the outcome of an attempt."""
        self.statuses[outcome] = self.statuses.get(outcome, 0) + 1

    def violated(self, check: str, words: str, *about: str) -> None:
        """Note that something promised did not hold."""
        self.violations.append(Violation(check=check, words=words, about=about))
        self.note("violation", check=check, words=words)

    def acknowledged(self) -> list[Write]:
        """The writes that were answered with success, in the order of the answers."""
        done = [write for write in self.writes if write.succeeded]
        return sorted(done, key=lambda write: write.answered_at or 0.0)

    def excerpt(self, about: Iterable[str]) -> list[str]:
        """The last lines that tell of any of these, and of the faults around them."""
        self._file.flush()
        named = re.compile("|".join(re.escape(one) for one in about if one) or "$^")
        with self.path.open(encoding="utf-8") as lines:
            told = [
                (is_fault, line)
                for line in lines
                if (is_fault := _is_fault(line)) or named.search(line)
            ]
        moments = [_moment(line) for is_fault, line in told if not is_fault]
        begin, end = min(moments, default=0.0) - _AROUND_SECONDS, max(moments, default=self.now)
        found = [line.rstrip("\n") for _, line in told if begin <= _moment(line) <= end]
        return found[-_EXCERPT_LINES:]


def _is_fault(line: str) -> bool:
    return '"what":"fault"' in line or '"what":"healed"' in line


def _moment(line: str) -> float:
    return float(msgspec.json.decode(line, type=_Line).at)


class _Line(Struct, frozen=True):
    at: float


def longest_gap(moments: Iterable[float], begin: float, end: float) -> float:
    """The longest time between `begin` and `end` in which none of the moments lies."""
    inside = [begin, *sorted(one for one in moments if begin < one < end), end]
    return max(after - before for before, after in pairwise(inside))


class Episode(Struct, frozen=True, kw_only=True):
    """One fault as it was injected, and how long the service was away for clients."""

    fault: str
    began: float
    healed: float
    recovered: float
    """When, after it was healed, a write and a fresh read were answered again."""
    no_write_seconds: float
    no_read_seconds: float
    with_others: tuple[str, ...] = ()
