"""Full disks: of Postgres and of JetStream, each on a small disk of its own that others fill."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg

from runtime.postgres import connect_as_owner
from tests.faults.faults import Fault, register
from tests.faults.parts import Part
from tests.faults.restored import data_of
from tests.faults.system import System
from tests.support.signals import until

_SPARE_BYTES: Final = 48 * 1024 * 1024
_SEGMENTS_MAX: Final = 50
_BALLAST: Final = "ballast-of-somebody-else"
_CHUNK: Final = bytes(1024 * 1024)


def lacking() -> str:
    """Why no small disk can be mounted here."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "only root may mount a small disk"
    ran = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return "" if ran.returncode == 0 else "a disk cannot be mounted here"


@asynccontextmanager
async def a_small_disk(part: Part, folder: Path) -> AsyncGenerator[None]:
    """Keep a server's folder on a disk with little room until the block ends."""
    aside = folder.with_name(f"{folder.name}-aside")
    await part.stop()
    await _run("mv", folder, aside)
    await _run("mkdir", folder)
    size = _size_of(aside) + _SPARE_BYTES
    await _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        await _run("cp", "--archive", f"{aside}/.", folder)
        await part.start()
        yield
    finally:
        await part.stop()
        await _run("rm", "--recursive", aside)
        await _run("cp", "--archive", folder, aside)
        await _run("umount", folder)
        await _run("rmdir", folder)
        await _run("mv", aside, folder)
        await part.start()


def fill(folder: Path) -> Path:
    """Take what room there is on the disk of a folder; the file that does."""
    ballast = folder / _BALLAST
    with ballast.open("wb", buffering=0) as file:
        for chunk in (_CHUNK, _CHUNK[:4096]):
            try:
                while file.write(chunk) == len(chunk):
                    pass
            except OSError:
                continue
    return ballast


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def _run(*command: str | Path) -> None:
    await asyncio.to_thread(subprocess.run, command, check=True)


def _tables_full(system: System) -> AbstractAsyncContextManager[None]:
    """Tables cannot grow; what is written of the WAL still has its room."""
    return _full(system, system.postgres, data_of(system))


@asynccontextmanager
async def _wal_full(system: System) -> AsyncGenerator[None]:
    """The WAL cannot grow either: Postgres panics, and cannot recover before there is room."""
    async with _full(system, system.postgres, data_of(system)):
        await asyncio.to_thread(_use_up_wal, system)
        yield


def _use_up_wal(system: System) -> None:
    with suppress(psycopg.OperationalError), connect_as_owner(system.settings, "faults") as owner:
        for _ in range(_SEGMENTS_MAX):
            owner.execute("SELECT pg_logical_emit_message(true, 'faults', 'x'), pg_switch_wal()")
        raise AssertionError("the WAL still has room")


def _jetstream_full(system: System) -> AbstractAsyncContextManager[None]:
    """NATS gives JetStream up on a full disk: an operator makes room and starts it again."""
    return _full(system, system.nats, system.folder / "nats-data" / "nats" / "jetstream")


@asynccontextmanager
async def _full(system: System, server: Part, folder: Path) -> AsyncGenerator[None]:
    """Who fills the disk goes away in the end: the server then has room, and begins again."""
    async with a_small_disk(server, folder):
        # Sessions that stand meet it while they write, not only those that begin.
        await until(system.is_ready, 60)
        ballast = await asyncio.to_thread(fill, folder)
        try:
            yield
        finally:
            ballast.unlink(missing_ok=True)
            await until(lambda: server.is_alive, 60)


register(
    Fault(
        name="full-disk-tables",
        about="The disk of Postgres is full, no table can grow; then there is room again",
        inject=_tables_full,
        owns=("postgres", "nats"),
        shortest=5.0,
        longest=15.0,
        lacking=lacking,
    ),
    Fault(
        name="full-disk-wal",
        about="The disk of Postgres is full, its WAL too: it panics until there is room again",
        inject=_wal_full,
        owns=("postgres", "nats"),
        shortest=5.0,
        longest=15.0,
        lacking=lacking,
    ),
    Fault(
        name="full-disk-jetstream",
        about="The disk of JetStream is full; then there is room again, and NATS is restarted",
        inject=_jetstream_full,
        owns=("postgres", "nats"),
        shortest=5.0,
        longest=15.0,
        lacking=lacking,
    ),
)
