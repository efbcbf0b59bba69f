"""Which servers a command talks to: the environment's, or the `customers dev`'s in this folder."""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from runtime.settings import Settings, SettingsError, read_settings

RUN_FILE = Path(".customers/dev/run.json")


class Running(Struct, frozen=True, kw_only=True):
    """What a running `customers dev` writes down for the other commands in its folder."""

    dev_pid: int
    url: str
    public_url: str
    database_url: str
    nats_url: str
    master_keys_file: str
    signing_keys_file: str = ""
    head_file: str = ""
    pids: dict[str, int | None]


def find_running(run_file: Path = RUN_FILE) -> Running | None:
    """The `customers dev` that runs in this folder, or None."""
    try:
        running = msgspec.json.decode(run_file.read_bytes(), type=Running)
        with (run_file.parent / "lock").open("rb") as lock:
            return running if _is_held(lock) else None
    except (OSError, msgspec.DecodeError):
        return None


def _is_held(lock: BinaryIO) -> bool:
    # A process may be gone and its id another's by now; its lock cannot.
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def completed_settings() -> Settings:
    """Settings of the environment, completed by those of the `customers dev` in this folder."""
    environ = dict(os.environ)
    running = find_running()
    if running is not None:
        for variable, value in (
            ("CUSTOMERS_DATABASE_URL", running.database_url),
            ("CUSTOMERS_NATS_URL", running.nats_url),
            ("CUSTOMERS_PUBLIC_URL", running.public_url),
            ("CUSTOMERS_HEAD_FILE", running.head_file),
        ):
            if f"{variable}_FILE" not in environ:
                environ.setdefault(variable, value)
        if "CUSTOMERS_MASTER_KEYS" not in environ:
            environ.setdefault("CUSTOMERS_MASTER_KEYS_FILE", running.master_keys_file)
        if "CUSTOMERS_SIGNING_KEYS" not in environ:
            environ.setdefault("CUSTOMERS_SIGNING_KEYS_FILE", running.signing_keys_file)
    return read_settings(environ)


def find_settings() -> Settings:
    """The same, for whoever needs a database; raises SettingsError when none is known."""
    settings = completed_settings()
    if not settings.database_url:
        raise SettingsError(
            "No database is known: CUSTOMERS_DATABASE_URL is not set and no `customers dev` runs "
            "in this folder. Start one with `customers dev`, or set the variable."
        )
    return settings
