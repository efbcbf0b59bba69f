"""Ten times more connections than the API can serve at once: `python -m tests.faults.overload`.

Two workspaces hammer it with writes, each over hundreds of connections that ask again as soon as
they are answered or refused; others are slow, silent, or take no answers. A third workspace works
quietly all the while, and somebody asks whether the service lives. Memory must stay flat, and the
log must hold each write that was acknowledged, once, and none that was refused.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import psycopg
import rich_click as click
from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

from runtime.api_keys import create_key
from runtime.postgres import connect_as_owner
from runtime.settings import Settings
from runtime.tasks import end
from tests.benchmarks.data import customer
from tests.benchmarks.deployment import a_deployment, a_process, announced_port
from tests.benchmarks.load import now, percentile, run
from tests.support.signals import lapse

_QUIET: Final = 4
_SLOW: Final = 20
"""Connections of each kind of slow client."""
_STEADY: Final = 20
"""So many answers one after the other, none slower than before the load, are back to normal."""
_GROWN: Final = 1.1
_NOISE_MIB: Final = 16.0
_PATH: Final = "/api/v1/external/customers"


class Seen(Struct, kw_only=True):
    """What was asked and answered in one part of the run."""

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter[str])
    taken: list[float] = field(default_factory=list[float])
    """Seconds of each answer that was a success."""
    refused: list[float] = field(default_factory=list[float])
    """Seconds of each that was 503."""
    ids: list[str] = field(default_factory=list[str])
    """Customers whose creation was acknowledged."""

    def milliseconds(self, percent: float) -> float:
        """What so many percent of the successes took at most."""
        return 1000 * percentile(self.taken, percent) if self.taken else float("nan")


class Caller:
    """A client that creates customers over one connection, one after the other."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._number = 0

    async def create(self, seen: Seen) -> None:
        """Ask once; without an answer nobody knows whether it was done."""
        self._number += 1
        body = msgspec.json.encode(customer(self._number) | {"external_id": None})
        # So it stands when the load goes while it is asked.
        seen.statuses["no answer"] += 1
        asked = now()
        try:
            status, answer = await self._ask(body)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return
        seen.statuses["no answer"] -= 1
        seen.statuses[str(status)] += 1
        if status == 200:
            seen.taken.append(now() - asked)
            seen.ids.append(msgspec.json.decode(answer)["data"]["id"])
        elif status == 503:
            seen.refused.append(now() - asked)

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _ask(self, body: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = (
            f"POST {_PATH} HTTP/1.1\r\nHost: load\r\nX-Api-Key: {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answered.partition(b"content-length: ")[2].partition(b"\r")[0])
        answer = await reader.readexactly(length)
        status = int(answered[9:12])
        if status == 503 and b"retry-after: " not in answered:
            raise click.ClickException(f"503 without Retry-After: {answer.decode()}")
        if b"connection: close" in answered:
            self.close()
        return status, answer


@asynccontextmanager
async def _loaded(port: int, key: str, connections: int, seen: Seen) -> AsyncGenerator[None]:
    """So many clients ask, each again at once, until the block ends."""

    async def go_on() -> None:
        caller = Caller(port, key)
        try:
            while not is_over.is_set():
                await caller.create(seen)
                await lapse(0)
        finally:
            caller.close()

    begun, is_over = now(), asyncio.Event()
    tasks = [asyncio.create_task(go_on()) for _ in range(connections)]
    try:
        yield
    finally:
        # They go all at once: what they had asked is answered, or not.
        is_over.set()
        seen.seconds += now() - begun
        await end(*tasks)


@asynccontextmanager
async def _without_manners(port: int, key: str) -> AsyncGenerator[None]:
    """Slow heads, silent connections, bodies that do not come, answers that nobody takes."""
    head = f"POST {_PATH} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\n"
    kinds = (
        b"",
        head.encode(),
        f"{head}Content-Length: 500\r\n\r\n".encode(),
        b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
    )

    async def go_on(sent: bytes) -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
                try:
                    writer.write(sent)
                    while sent.startswith(b"POST") and not reader.at_eof():
                        writer.write(b"x")
                        await lapse(3)
                    await lapse(15)
                finally:
                    writer.transport.abort()
            await lapse(1)

    tasks = [asyncio.create_task(go_on(kind)) for kind in kinds for _ in range(_SLOW)]
    try:
        yield
    finally:
        await end(*tasks)


class Watch(Struct, kw_only=True):
    """The memory of the process, and how its health was told, once a second."""

    mebibytes: list[float] = field(default_factory=list[float])
    health: list[float] = field(default_factory=list[float])
    unhealthy: int = 0

    @asynccontextmanager
    async def going_on(self, port: int, pid: int) -> AsyncGenerator[None]:
        """Look once a second until the block ends."""
        task = asyncio.create_task(self._look(port, pid))
        try:
            yield
        finally:
            await end(task)

    async def _look(self, port: int, pid: int) -> None:
        while True:
            self.mebibytes.append(_resident(pid))
            asked = now()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answered = await reader.read()
                writer.close()
                if not answered.startswith(b"HTTP/1.1 200"):
                    self.unhealthy += 1
            except OSError:
                self.unhealthy += 1
            self.health.append(now() - asked)
            await lapse(1)

    def has_grown(self) -> bool:
        """Whether there is more at the end than there was after a third of the time."""
        third = len(self.mebibytes) // 3
        early, late = self.mebibytes[third : 2 * third], self.mebibytes[2 * third :]
        return bool(early) and median(late) > _GROWN * median(early) + _NOISE_MIB


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Outcome(Struct, kw_only=True):
    """All that was found."""

    before: Seen = field(default_factory=Seen)
    quiet: Seen = field(default_factory=Seen)
    crowd: Seen = field(default_factory=Seen)
    after: Seen = field(default_factory=Seen)
    watch: Watch = field(default_factory=Watch)
    recovered: float = 0.0
    events: int = 0
    missing: int = 0
    doubled: int = 0
    unexplained: int = 0

    def faults(self) -> list[str]:
        """What must not be."""
        found: list[str] = []
        if self.watch.has_grown():
            found.append("memory grew")
        if self.missing:
            found.append(f"{self.missing} acknowledged writes are not in the log")
        if self.doubled:
            found.append(f"{self.doubled} customers were created more than once")
        if self.unexplained > 0:
            found.append(f"the log holds {self.unexplained} writes or more that were refused")
        if self.watch.unhealthy:
            found.append(f"health was refused {self.watch.unhealthy} times")
        if not self.crowd.statuses["503"]:
            found.append("nothing was refused: it was no overload")
        if foreign := set(self.crowd.statuses + self.quiet.statuses) - {"200", "503", "no answer"}:
            found.append(f"answers that should not be: {sorted(foreign)}")
        return found


async def _overload(
    port: int, pid: int, keys: list[str], connections: int, seconds: float
) -> Outcome:
    found = Outcome()
    async with _loaded(port, keys[0], _QUIET, found.before):
        await lapse(min(10.0, seconds))
    async with found.watch.going_on(port, pid):
        async with (
            _loaded(port, keys[0], _QUIET, found.quiet),
            _without_manners(port, keys[0]),
            _loaded(port, keys[1], connections // 2, found.crowd),
            _loaded(port, keys[2], connections - connections // 2, found.crowd),
        ):
            await lapse(seconds)
        over = now()
        usual = 2 * found.before.milliseconds(99) / 1000
        caller, quick_ones, is_steady = Caller(port, keys[0]), 0, False
        while now() < over + 5:
            asked = now()
            await caller.create(found.after)
            is_quick = now() - asked <= usual
            quick_ones = quick_ones + 1 if is_quick else 0
            if not is_quick and not is_steady:
                found.recovered = now() - over
            is_steady = is_steady or quick_ones == _STEADY
        caller.close()
        found.after.seconds = now() - over
    found.crowd.seconds /= 2
    return found


def _compare(settings: Settings, found: Outcome) -> None:
    """Compare what was acknowledged with the log."""
    parts = (found.before, found.quiet, found.crowd, found.after)
    acknowledged = [one for part in parts for one in part.ids]
    unknown = sum(part.statuses["no answer"] for part in parts)
    with psycopg.connect(settings.database_url) as owner:
        rows = owner.execute("SELECT stream_id::text, count(*) FROM log.events GROUP BY 1")
        logged: dict[str, int] = dict(rows.fetchall())
    found.events = sum(logged.values())
    found.missing = len(set(acknowledged) - logged.keys())
    found.doubled = len(acknowledged) - len(set(acknowledged)) + found.events - len(logged)
    # Those that went with the load had each one request under way.
    found.unexplained = found.events - len(acknowledged) - unknown


def _show(found: Outcome, console: Console) -> None:
    table = Table("", "seconds", "200", "a second", "p50 ms", "p99 ms", "503", "no answer")
    rows = {
        "quiet, before": found.before,
        "the crowd": found.crowd,
        "quiet, meanwhile": found.quiet,
        "quiet, afterwards": found.after,
    }
    for name, seen in rows.items():
        table.add_row(
            name,
            f"{seen.seconds:.0f}",
            str(seen.statuses["200"]),
            f"{seen.statuses['200'] / seen.seconds:.0f}",
            f"{seen.milliseconds(50):.0f}",
            f"{seen.milliseconds(99):.0f}",
            str(seen.statuses["503"]),
            str(seen.statuses["no answer"]),
        )
    console.print(table)
    every = max(1, len(found.watch.mebibytes) // 10)
    memory = " ".join(f"{one:.0f}" for one in found.watch.mebibytes[::every])
    console.print(f"memory, MiB: {memory}; most {max(found.watch.mebibytes):.0f}")
    slowest = 1000 * percentile(found.watch.health, 99)
    console.print(f"health: asked {len(found.watch.health)} times, p99 {slowest:.0f} ms")
    console.print(f"back to normal {found.recovered:.2f} s after the load had gone")
    console.print(f"events in the log: {found.events}; acknowledged and missing: {found.missing}")
    for fault in found.faults():
        console.print(f"[red]wrong:[/red] {fault}")


@click.command()
@click.option("--minutes", type=click.FloatRange(0.1), default=5.0, help="How long.")
@click.option("--connections", type=click.IntRange(10), help="Else ten for each place.")
def main(minutes: float, connections: int | None) -> None:
    """Send an API process far more than it can do, and look what becomes of it."""
    console = Console()
    with a_deployment() as usual:
        # Room for all of them: it is the work that is too much.
        count = connections or 10 * usual.requests
        settings = msgspec.structs.replace(usual, connections=max(usual.connections, 3 * count))
        with connect_as_owner(settings, "overload keys") as owner:
            names = ("quiet", "acme", "globex")
            keys = [create_key(owner, workspace=name, scopes=(), test=False) for name in names]
        with (
            a_process(settings, "relay"),
            a_process(settings, "projector"),
            a_process(settings, "api", "--port", "0") as api,
        ):
            console.print(f"{count} connections for {minutes:g} minutes")
            port = announced_port(api)
            found = run(_overload(port, api.pid, keys, count, 60 * minutes))
        _compare(settings, found)
    _show(found, console)
    sys.exit(1 if found.faults() else 0)


if __name__ == "__main__":
    main()
