"""What `customers erase --check` says: where a value is, what was searched and what was not."""

from collections.abc import Iterable

from msgspec import Struct

from runtime.leftovers.needles import Finder, Needle


class Finding(Struct, frozen=True, kw_only=True):
    """A value stands somewhere."""

    number: int
    """Which of the values it is, from 1."""
    value: str
    """Masked."""
    place: str
    count: int
    forms: list[str]
    gone: str
    """When it will be gone, in words."""


class Searched(Struct, frozen=True, kw_only=True):
    """A place that was looked at as a whole, and what could hide a value there all the same."""

    place: str
    extent: str
    limits: list[str] = []


class Unsearched(Struct, frozen=True, kw_only=True):
    """A place that was to be looked at and could not be: never to be taken for a clean one."""

    place: str
    reason: str
    try_next: str


class Report(Struct, kw_only=True):
    """All of it, place by place."""

    findings: list[Finding] = []
    searched: list[Searched] = []
    unsearched: list[Unsearched] = []

    @property
    def exit_status(self) -> int:
        """0: nowhere; 1: it was found; 2: not found, but not all could be searched."""
        if self.findings:
            return 1
        return 2 if self.unsearched else 0

    def add(self, needles: Iterable[Needle], finder: Finder, place: str, gone: str) -> None:
        """What a finder has found at a place."""
        for needle in needles:
            forms = finder.found.get(needle.number)
            if forms:
                self.findings.append(
                    Finding(
                        number=needle.number,
                        value=needle.shown,
                        place=place,
                        count=sum(forms.values()),
                        forms=sorted(forms),
                        gone=gone,
                    )
                )


def in_bytes(count: int) -> str:
    """`3.2 MB`."""
    size, units = float(count), ["bytes", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
