"""The file a server we start writes its log to, and what it said since it was last started."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_BYTES_MAX = 10_000_000
_TAIL_LINES = 4


class ServerLog:
    """One log file, begun anew when it has grown past 10 MB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0

    @contextmanager
    def opened(self) -> Generator[int]:
        """A file descriptor for a child to write to; what it says from now on is `said`."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > _BYTES_MAX:
            self.path.unlink()
        with self.path.open("ab") as file:
            self.path.chmod(0o600)
            self._start = file.tell()
            yield file.fileno()

    def said(self) -> str:
        """What was written since the file was last opened."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._start)
                return file.read(65_536).decode(errors="replace")
        except OSError:
            return ""

    def mentions(self, *words: str) -> bool:
        """Whether any of these words were written since the file was last opened."""
        said = self.said()
        return any(word in said for word in words)

    def tail(self) -> str:
        """Its last words, ready to follow a sentence."""
        lines = [line for line in self.said().splitlines() if line.strip()]
        return "".join(f"\n  {line}" for line in lines[-_TAIL_LINES:])
