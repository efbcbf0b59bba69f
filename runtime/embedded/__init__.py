"""Postgres and NATS from programs that were installed with pip, for development and tests.

Both are child processes on 127.0.0.1, ask for a password, keep everything in one folder and die
with the process that started them.
"""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_urlsafe

from msgspec import Struct

from runtime.embedded.nats import EmbeddedNats
from runtime.embedded.postgres import EmbeddedPostgres

__all__ = ["EmbeddedNats", "EmbeddedPostgres", "EmbeddedServers", "make_folder", "running_servers"]


class EmbeddedServers(Struct, frozen=True, kw_only=True):
    """A Postgres and a NATS that run."""

    postgres: EmbeddedPostgres
    nats: EmbeddedNats


def make_folder(folder: Path) -> Path:
    """Make a data folder, or open one: others may pass through it only where Postgres must."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return folder


@contextmanager
def running_servers(
    *, durable: bool = False, programs: str = "", program: str = ""
) -> Generator[EmbeddedServers]:
    """Both servers in a folder of their own that is removed in the end; by default not durable.

    Enter it in a thread that lives as long as the servers should, such as the main thread.
    """
    folder = make_folder(Path(tempfile.mkdtemp(prefix="customers-")))
    nats = EmbeddedNats(folder, password=token_urlsafe(18), durable=durable, program=program)
    postgres = EmbeddedPostgres(
        folder, password=token_urlsafe(18), durable=durable, programs=programs
    )
    try:
        nats.launch()
        postgres.launch()
        nats.wait_ready()
        postgres.wait_ready()
        yield EmbeddedServers(postgres=postgres, nats=nats)
    finally:
        nats.stop()
        postgres.stop()
        postgres.erase()
        shutil.rmtree(folder, ignore_errors=True)
