"""How `customers events …` prints events for a person: a line each, or all there is of one."""

import json
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import rich_click as click
from msgspec import Raw
from rich.cells import cell_len
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from events.append import Head
from events.jetstream import ACTIONS
from runtime.clock import format_time
from runtime.operators.log import Gist, Opened, read_gist

_COLORS: Final = {
    "created": "green",
    "updated": "cyan",
    "deleted": "red",
    "restored": "yellow",
    "erased": "magenta",
}
_WIDE: Final = 120
_LABEL_WIDTH: Final = 18


class EventLines:
    """Prints one line an event, aligned with those before; in a terminal in colours, and cut."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._widths = [0] * 6

    def print(self, page: Iterable[Opened]) -> None:
        """Print the lines of some events."""
        rows = [self._cells(opened) for opened in page]
        for row in rows:
            self._widths = [
                max(width, cell_len(cell)) for width, cell in zip(self._widths, row, strict=False)
            ]
        lines = [self._line(row) for row in rows]
        if self._console.is_terminal:
            for line in lines:
                self._console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        elif lines:
            click.echo("\n".join(line.plain for line in lines))

    def _cells(self, opened: Opened) -> list[str]:
        stored = opened.stored
        time, customer = format_time(stored.recorded_at), str(stored.stream_id)
        if self._console.is_terminal:
            # Of an id, the end tells most: the beginning is a time.
            is_wide = self._console.width >= _WIDE
            time = time[:19].replace("T", " ") if is_wide else time[5:19].replace("T", " ")
            customer = customer if is_wide else f"…{customer[-12:]}"
        action = ACTIONS.get(stored.type, stored.type)
        version = f"v{stored.stream_version}"
        what = _what(opened)
        return [str(stored.position), time, stored.workspace_id, action, customer, version, what]

    def _line(self, row: list[str]) -> Text:
        position, *middle, what = row
        width, *widths = self._widths
        line = Text(position.rjust(width))
        for cell, wide in zip(middle, widths, strict=True):
            padded = cell + " " * (wide - cell_len(cell))
            line.append("  ").append(padded, style=_COLORS.get(cell, ""))
        line.append(f"  {what}")
        line.rstrip()
        return line


def print_event(opened: Opened, head: Head) -> None:
    """All about one event, with the values in clear."""
    console = Console(highlight=False)
    stored = opened.stored
    title = f"event {stored.position} of log {stored.log_id}, generation {head.generation}"
    console.print(Text(title, style="bold"), soft_wrap=True)
    for label, value in _facts(opened):
        line = Text(f"  {label.ljust(_LABEL_WIDTH)}", style="dim")
        line.append(printable(value), style=_COLORS.get(ACTIONS.get(value, ""), "default"))
        console.print(line, soft_wrap=True)
    if opened.data is None:
        words = "erased: the person was forgotten, and nobody can read this event any more"
        style = "magenta" if opened.fault is None else "red"
        console.print(Text(f"\n{opened.fault or words}", style=style), soft_wrap=True)
        return
    changes = list(_changes(read_gist(opened.data)))
    if changes:
        console.print(Text("\nchanged", style="bold"))
    for field, words in changes:
        console.print(Text(f"  {field.ljust(_LABEL_WIDTH)}").append(words), soft_wrap=True)
    console.print(Text("\npayload", style="bold"))
    payload = printable(msgspec.json.format(opened.data, indent=2).decode(), keep="\n")
    console.print(JSONHighlighter()(Text(payload)), soft_wrap=True)


def printable(text: str, keep: str = "") -> str:
    """The text with what could move or recolour a terminal escaped as JSON escapes it."""
    return "".join(
        character if character.isprintable() or character in keep else json.dumps(character)[1:-1]
        for character in text
    )


def _facts(opened: Opened) -> Iterator[tuple[str, str]]:
    stored = opened.stored
    yield "type", stored.type
    yield "schema version", str(stored.schema_version)
    yield "recorded at", format_time(stored.recorded_at)
    yield "workspace", f"{stored.workspace_id}, its event {stored.workspace_sequence}"
    yield "customer", str(stored.stream_id)
    yield "version", str(stored.stream_version)
    yield "event id", str(stored.event_id)
    yield "command id", str(stored.command_id)
    yield "data key id", "none: clear" if stored.data_key_id is None else str(stored.data_key_id)
    if opened.data is not None:
        gist = read_gist(opened.data)
        said = {"actor": gist.actor, "reason": gist.reason, "request id": gist.request_id}
        yield from ((label, value) for label, value in said.items() if value is not None)
    for name, value in msgspec.json.decode(stored.metadata, type=dict[str, str | None]).items():
        yield name.replace("_", " "), value or ""
    yield "digest", stored.digest.hex()
    yield "chain", stored.chain.hex()


def _changes(gist: Gist) -> Iterator[tuple[str, str]]:
    for field in gist.changed_fields:
        now = bytes(gist.customer.get(field, Raw(b"null"))).decode()
        before = gist.previous.get(field)
        words = now if before is None else f"{bytes(before).decode()} → {now}"
        yield field, printable(words)


def _what(opened: Opened) -> str:
    """Who did it, and which fields changed: names, and none of their values."""
    if opened.fault is not None:
        return f"unreadable: {opened.fault}"
    if opened.data is None:
        return "erased since"
    gist = read_gist(opened.data)
    if gist.positions:
        return f"unreadable from now on: {', '.join(map(str, gist.positions))}"
    who = f"by {gist.actor}" if gist.actor else ""
    return printable(": ".join(filter(None, (who, ", ".join(gist.changed_fields)))))
