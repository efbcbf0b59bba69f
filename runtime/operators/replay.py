"""The events of the log for `customers replay`: from one position to another, as lines of text."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from events.envelope import Metadata, Position
from events.follower import Begun
from events.walk import Wanted
from runtime.clock import format_time
from runtime.csv_cells import Format, csv_line
from runtime.customer_cells import COLUMNS, customer_cells
from runtime.failure import Failure
from runtime.operators.log import Gist, Opened, OpenedLog, read_gist

_EVENT_COLUMNS: Final = (
    *("position", "time", "workspace", "sequence", "customer", "version", "type", "event_id"),
    *("actor", "reason", "request_id", "api_key_id", "changed_fields"),
)
_metadata: Final = msgspec.json.Decoder(Metadata)


class Span(Struct, frozen=True, kw_only=True):
    """From which position, and up to which one or which moment; the end of the log unless said."""

    first: Position
    last: Position | datetime | None


class _Unreadable(Struct, frozen=True, kw_only=True):
    position: int
    fault: str


class ReplayPage(Struct, frozen=True, kw_only=True):
    """Some events as lines."""

    lines: bytes
    events: int
    last: Position
    erased: int
    faults: list[tuple[Position, str]]
    """What cannot be read though nobody erased it, and why."""


async def read_replay(
    log: OpenedLog,
    wanted: Wanted,
    span: Span,
    form: Format,
    *,
    tell: Callable[[str], None],
    begun: Callable[[Begun], None],
) -> AsyncGenerator[ReplayPage]:
    """The wanted events in order, once it is recorded that somebody reads them.

    It ends where the log ends now, whatever is appended meanwhile.
    """
    last = span.last
    if isinstance(last, datetime):
        moment, last = last, await log.last_until(last)
        if last < span.first:
            end = f"ended at position {last}" if last else "was empty"
            raise Failure(
                f"At {format_time(moment)} the log {end}.", "a later --until, or an earlier --from"
            )

    def begin(where: Begun) -> None:
        if last is not None and where.last is not None and where.last < last:
            raise Failure(f"The log ends at position {where.last}.", f"--to {where.last}")
        begun(where)

    wanted = await log.admit("replay", wanted)
    line = log.positioned if form == "ndjson" else _csv_line
    async with (
        log.follower(wanted, tell, hears=False) as follower,
        aclosing(follower.pages(first=span.first, last=last, follow=False, begun=begin)) as pages,
    ):
        async for page in pages:
            opened = [log.open(keyed) for keyed in page]
            yield _page(opened, line, form)


def header(form: Format) -> bytes:
    """What stands in front of the first event."""
    if form == "ndjson":
        return b""
    return csv_line([*_EVENT_COLUMNS, *COLUMNS, "erased", "fault"])


def _page(opened: list[Opened], line: Callable[[Opened], bytes], form: Format) -> ReplayPage:
    lines: list[bytes] = []
    erased = 0
    faults: list[tuple[Position, str]] = []
    end = b"\n" if form == "ndjson" else b""
    for event in opened:
        if event.fault is not None:
            faults.append((event.stored.position, event.fault))
        elif event.data is None:
            erased += 1
        if event.fault is not None and form == "ndjson":
            fault = _Unreadable(position=event.stored.position, fault=event.fault)
            lines.append(msgspec.json.encode(fault))
        else:
            lines.append(line(event))
    return ReplayPage(
        lines=end.join([*lines, b""]),
        events=len(opened),
        last=opened[-1].stored.position,
        erased=erased,
        faults=faults,
    )


def _csv_line(opened: Opened) -> bytes:
    stored, fault = opened.stored, opened.fault
    gist = Gist() if opened.data is None else read_gist(opened.data)
    return csv_line(
        [
            *(stored.position, format_time(stored.recorded_at), stored.workspace_id),
            *(stored.workspace_sequence, str(stored.stream_id), stored.stream_version),
            *(stored.type, str(stored.event_id)),
            *(gist.actor, gist.reason, gist.request_id),
            _metadata.decode(stored.metadata).api_key_id,
            " ".join(gist.changed_fields),
            *customer_cells(gist.customer),
            "true" if opened.data is None and fault is None else None,
            fault,
        ]
    )
