"""The folder in which a `customers dev` keeps its data, its secrets and who its processes are.

It holds pg<version>/ and nats/ (the data), logs/, secrets.json, master.keys, signing.keys and
erasures.ndjson, the ledger of erasures (what a next start needs again), heads.jsonl (the signed
heads), run.json (for the other commands) and processes.json (for cleaning up after a `kill -9`).
Nobody else can read any of it.
"""

import base64
import fcntl
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

import msgspec
import structlog
from msgspec import Struct, field

from runtime.discovery import Running
from runtime.embedded import children, make_folder
from runtime.embedded.children import Identity
from runtime.failure import Failure

DEFAULT_FOLDER = Path(".customers/dev")
log = structlog.get_logger()


_T = TypeVar("_T")


def _new_secret() -> str:
    return secrets.token_urlsafe(18)


class Secrets(Struct, kw_only=True):
    """What stays the same from start to start; the API keys are stored hashed elsewhere."""

    postgres_password: str = field(default_factory=_new_secret)
    postgres_port: int = 0
    nats_password: str = field(default_factory=_new_secret)
    nats_port: int = 0
    api_key: str = ""
    test_api_key: str = ""


class DevFolder:
    """One data folder that is ours alone while it is open."""

    def __init__(self, path: Path, *, is_ephemeral: bool) -> None:
        self.path = path
        self.is_ephemeral = is_ephemeral
        self.secrets = self._read("secrets.json", Secrets) or Secrets()
        self._processes: dict[str, Identity] = {}

    @property
    def master_keys_file(self) -> Path:
        """The file with the master key of development, made when there is none."""
        path = self.path / "master.keys"
        if not path.exists():
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            self._write("master.keys", f"development:{key}\n".encode())
        return path

    @property
    def signing_keys_file(self) -> Path:
        """The file with the key that signs heads in development, made when there is none."""
        path = self.path / "signing.keys"
        if not path.exists():
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            self._write("signing.keys", f"development:{key}\n".encode())
        return path

    def save_secrets(self) -> None:
        """Keep the secrets for the next start."""
        self._write("secrets.json", msgspec.json.encode(self.secrets))

    def save_running(self, running: Running) -> None:
        """Tell the other commands in this folder where the servers are."""
        self._write("run.json", msgspec.json.encode(running))

    def forget_running(self) -> None:
        """Nothing of ours runs any more."""
        for name in ("run.json", "processes.json"):
            (self.path / name).unlink(missing_ok=True)

    def record_process(self, name: str, pid: int) -> None:
        """Remember a child, so that a next start recognises it should we be killed."""
        identity = children.identify(pid)
        if identity is not None:
            self._processes[name] = identity
            self._write("processes.json", msgspec.json.encode(self._processes))

    def end_leftovers(self) -> None:
        """End the processes that an earlier `customers dev` on this folder could not end itself."""
        leftovers = self._read("processes.json", dict[str, Identity]) or {}
        for name, identity in leftovers.items():
            # Postgres and NATS end their own leftovers: they alone know how.
            if name in ("postgres", "nats") or children.identify(identity.pid) != identity:
                continue
            log.info("dev.leftover_ended", child=name, pid=identity.pid)
            children.end(identity, (signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0))
        self.forget_running()

    def _read(self, name: str, kind: type[_T]) -> _T | None:
        path = self.path / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise Failure(
                f"{path} is damaged: {error}.",
                "`customers dev --data-dir DIR` with another folder, or restore that file",
            ) from error

    def _write(self, name: str, content: bytes) -> None:
        # Renamed when whole: a reader sees the old file or the new one.
        fresh = self.path / f"{name}.new"
        fresh.touch(0o600)
        fresh.write_bytes(content)
        fresh.replace(self.path / name)


@contextmanager
def open_folder(path: Path | None) -> Generator[DevFolder]:
    """The data folder, ours alone until the end; without a path a new one, removed in the end."""
    chosen = path.absolute() if path else Path(tempfile.mkdtemp(prefix="customers-dev-"))
    try:
        _make(chosen, is_new=path is None)
        with (chosen / "lock").open("a+", encoding="ascii") as lock:
            (chosen / "lock").chmod(0o600)
            _take(lock, chosen)
            yield DevFolder(chosen.resolve(), is_ephemeral=path is None)
    except OSError as error:
        faulty = Path(str(error.filename or ""))
        if not (faulty.is_relative_to(chosen) or chosen.is_relative_to(faulty)):
            raise
        raise Failure(
            f"The data folder {chosen} cannot be used: {error.strerror} ({error.filename}).",
            "customers dev --data-dir DIR, with a folder of your own",
        ) from error
    finally:
        if path is None:
            shutil.rmtree(chosen, ignore_errors=True)


def _make(folder: Path, *, is_new: bool) -> None:
    # A folder that was there keeps its permissions, and must be empty or one of ours.
    if is_new or not folder.exists():
        make_folder(folder)
    elif any(folder.iterdir()) and not (folder / "lock").exists():
        raise Failure(
            f"{folder} holds something else already, so no data is put there.",
            "customers dev --data-dir DIR, with a new or empty folder",
        )


def _take(lock: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise Failure(
            f"`customers dev` already runs on {folder}, as process {lock.read().strip()}.",
            "stop that one with Ctrl-C, or start another beside it: customers dev --ephemeral",
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
