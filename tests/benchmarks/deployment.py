"""The service on servers of its own that write through to disk, as a benchmark needs it."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from secrets import token_urlsafe
from typing import IO, Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from runtime.embedded import EmbeddedNats, EmbeddedPostgres, children, make_folder
from runtime.schema import migrate
from runtime.settings import PREFIX, Settings
from tests.support.dev import CUSTOMERS, clean_environment

# Never in memory, where a flush costs nothing, as /tmp may be.
_ON_DISK: Final = "/var/tmp"  # noqa: S108 - mkdtemp makes a folder of our own


@contextmanager
def a_folder() -> Generator[Path]:
    """A folder on disk, until the block ends; TMPDIR says where, if it is set."""
    room = os.environ.get("TMPDIR", _ON_DISK)
    folder = make_folder(Path(tempfile.mkdtemp(prefix="customers-bench-", dir=room)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def a_postgres(folder: Path) -> Generator[EmbeddedPostgres]:
    """A durable Postgres with its own defaults, until the block ends."""
    postgres = EmbeddedPostgres(folder, password=token_urlsafe(18), durable=True)
    try:
        postgres.launch()
        postgres.wait_ready()
        yield postgres
    finally:
        postgres.stop()
        postgres.erase()


@contextmanager
def a_nats(folder: Path) -> Generator[EmbeddedNats]:
    """A NATS that writes through to disk, until the block ends."""
    nats = EmbeddedNats(make_folder(folder), password=token_urlsafe(18), durable=True)
    try:
        nats.launch()
        nats.wait_ready()
        yield nats
    finally:
        nats.stop()


@contextmanager
def a_deployment() -> Generator[Settings]:
    """Settings of a service on durable servers of its own, with a migrated database."""
    with a_folder() as folder, a_postgres(folder) as postgres, a_nats(folder) as nats:
        yield a_service(postgres, nats, "customers")


def a_service(postgres: EmbeddedPostgres, nats: EmbeddedNats, name: str) -> Settings:
    """Settings of a service with a new, migrated database of this name."""
    settings = Settings(
        database_url=a_database(postgres, name),
        nats_url=nats.url,
        master_keys=f"bench:{base64.b64encode(os.urandom(32)).decode()}",
        log_format="json",
        rate_limit=0,
    )
    migrate(settings)
    return settings


def a_database(postgres: EmbeddedPostgres, name: str) -> str:
    """The address of a new database."""
    with psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return make_conninfo(postgres.url, dbname=name)


def environment(settings: Settings) -> dict[str, str]:
    """What a process with these settings, and no others, is started with."""
    usual = Settings()
    return clean_environment() | {
        PREFIX + name.upper(): str(getattr(settings, name))
        for name in Settings.__struct_fields__
        if getattr(settings, name) != getattr(usual, name)
    }


def a_process(
    settings: Settings, *command: str, log: IO[bytes] | None = None
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A process of the service, until the block ends; `log` gets what it says."""
    said = sys.stderr if log is None else log
    return spawned([*CUSTOMERS, *command], environment(settings), said)


@contextmanager
def spawned(
    command: list[str], environ: dict[str, str], log: IO[Any]
) -> Generator[subprocess.Popen[bytes]]:
    """A process, until the block ends; `log` gets what it says."""
    process = children.spawn(
        command,
        env=environ,
        death_signal=signal.SIGTERM,
        stdout=subprocess.PIPE,
        stderr=log.fileno(),
    )
    with ended(process):
        yield process


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Generator[None]:
    """End a process with the block."""
    try:
        yield
    finally:
        children.stop(process, (signal.SIGTERM, 15.0))
        if process.stdout is not None:
            process.stdout.close()


def announced_port(process: subprocess.Popen[bytes]) -> int:
    """The port that a process of ours announces on its first line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it ended at its start, and its log says why"
    return int(json.loads(line)["port"])


@contextmanager
def an_api(settings: Settings) -> Generator[int]:
    """An API process that logs nothing but warnings; its port."""
    with a_process(settings, "api", "--port", "0") as process:
        yield announced_port(process)
