"""What a run is doing now, and about how long it will still take."""

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from tests.benchmarks.figures import Row, quantity


class Teller:
    """A line for each stage that is over and, on a terminal, a bar for all of them."""

    def __init__(self, console: Console, seconds: dict[str, float]) -> None:
        self._console = console
        self._seconds = seconds
        self._left = dict(seconds)
        self._stage = ""
        self._began = 0.0
        self._bar = _Bar(self, console)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, stage: str) -> None:
        """Go on to a stage."""
        self._stage, self._began = stage, time.monotonic()
        self.tell("begins")

    def tell(self, words: str) -> None:
        """Say what is done now."""
        self._bar.say(f"{self._stage}: {words}")
        if not self._console.is_terminal:
            self._console.print(f"{self._stage}: {words} ({self.left_words()})", soft_wrap=True)

    def end(self, rows: Iterable[Row], trouble: str) -> None:
        """A stage is over, with these figures."""
        self._left.pop(self._stage, None)
        for row in rows:
            style = "red" if row.reached is False else "green"
            figures = [f"ours {quantity(row.ours, row.unit)}"] if row.ours is not None else []
            if row.beside is not None:
                figures.append(f"{row.beside_what} {quantity(row.beside, row.unit)}")
            self._console.print(Text(f"  {row.what}: {', '.join(figures)}", style=style))
        if trouble:
            self._console.print(Text(f"  {self._stage}: {trouble}", style="yellow"))

    def done_part(self) -> float:
        """How much of the whole is done, from 0 to 1."""
        whole = sum(self._seconds.values())
        return 1 - self._left_seconds() / whole if whole else 1.0

    def left_words(self) -> str:
        """About how long it will still take."""
        left = self._left_seconds()
        return f"about {left / 60:.0f} min left" if left >= 90 else "about a minute left"

    def _left_seconds(self) -> float:
        now = self._left.get(self._stage, 0.0)
        # Whoever takes longer than was thought is never done.
        gone = min(time.monotonic() - self._began, 0.95 * now)
        return sum(self._left.values()) - gone


class _Bar(Progress):
    def __init__(self, teller: Teller, console: Console) -> None:
        self._teller = teller
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[left]}"),
        )
        super().__init__(*columns, console=console, disable=not console.is_terminal)
        self._task = self.add_task("", total=1.0, left="")

    def say(self, words: str) -> None:
        self.update(self._task, description=words)

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            task.completed = self._teller.done_part()
            task.fields["left"] = self._teller.left_words()
        yield from super().get_renderables()
