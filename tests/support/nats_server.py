"""A NATS server with a configuration of the test's own, stopped, killed and started at will."""

import json
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGTERM
from subprocess import Popen
from typing import Any

import msgspec
from msgspec import Struct

from runtime.embedded import binaries, children


class Ports(Struct, frozen=True):
    """Where a NATS server says that it listens."""

    nats: list[str]


class NatsServer:
    """A server on loopback; started again, it listens where it did before."""

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        self._config = config
        self._process: Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """How to reach it, without a user."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        """The folder of its streams, beside its configuration."""
        return self.folder / "js"

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [binaries.find_nats(""), "-c", self._config, "-a", "127.0.0.1"]
        command += ["-p", str(self.port or -1), "-m", "-1", "--ports_file_dir", self.folder]
        self._process = children.spawn(command, env={}, death_signal=SIGTERM)
        children.wait_until(lambda: self._read_port() != 0, 30.0)
        self.port = self._read_port()
        assert self.port, "it did not start"

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            children.stop(self._process, (SIGTERM, 10.0))
            self._process = None
        self._forget_port()

    def kill(self) -> None:
        """End it without a warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        self._forget_port()

    def configure(self, **settings: Any) -> None:
        """Give it this configuration, with JetStream, from its next start on.

        Its streams are in `store`.
        """
        store = {"jetstream": {"store_dir": str(self.store)}}
        self._config.write_text(json.dumps(store | settings), encoding="utf-8")

    def reload(self) -> None:
        """Have it read its configuration again, as `nats-server --signal reload` does."""
        assert self._process is not None
        self._process.send_signal(1)

    def _forget_port(self) -> None:
        for stale in self.folder.glob("*.ports"):
            stale.unlink()

    def _read_port(self) -> int:
        with suppress(StopIteration, msgspec.DecodeError, FileNotFoundError):
            written = next(self.folder.glob("*.ports")).read_bytes()
            return int(msgspec.json.decode(written, type=Ports).nats[0].rpartition(":")[2])
        return 0  # not written yet, or not whole


@contextmanager
def nats_with(**settings: Any) -> Generator[NatsServer]:
    """A server with JetStream and these settings, until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="customers-test-nats-"))
    server = NatsServer(folder, folder / "nats.conf")
    server.configure(**settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
