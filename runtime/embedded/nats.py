"""One NATS server of our own with JetStream: a child process on 127.0.0.1, with a password."""

import http.client
import json
import signal
import subprocess
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import structlog
from msgspec import Struct

from runtime.embedded import children
from runtime.embedded.binaries import find_nats
from runtime.embedded.ports import is_free
from runtime.embedded.server_log import ServerLog
from runtime.failure import Failure

log = structlog.get_logger()


class _Ports(Struct, frozen=True):
    nats: list[str]
    monitoring: list[str]


class EmbeddedNats:
    """A NATS server that keeps its streams in `<folder>/nats`.

    `durable=False` lets it write streams to disk later than it acknowledges them: for tests alone.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str,
        port: int = 0,
        durable: bool = True,
        program: str = "",
    ) -> None:
        self._program = find_nats(program)
        self._folder = folder.resolve() / "nats"
        self._config = self._folder / "nats.conf"
        self._log = ServerLog(folder.resolve() / "logs" / "nats.log")
        self._password = password
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port

    @property
    def url(self) -> str:
        """How to reach it, with full rights; known once it is ready."""
        return f"nats://customers:{self._password}@127.0.0.1:{self.port}"

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it; `wait_ready` waits for it and learns its port.

        What an earlier start left running in the same folder is ended first. Started again, it
        listens where it did before.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._end_leftover()
        for stale in self._folder.glob("*.ports"):
            stale.unlink()
        if self._process is not None:
            children.wait_until(partial(is_free, "127.0.0.1", self.port), 5.0)
        elif self.port and not is_free("127.0.0.1", self.port):
            self.port = 0
        self._config.touch(0o600)
        self._config.write_text(self._configuration(), encoding="utf-8")
        with self._log.opened() as output:
            self._process = children.spawn(
                [self._program, "-c", self._config],
                env={},
                death_signal=signal.SIGTERM,
                stdout=output,
                stderr=output,
            )
        return self._process

    def wait_ready(self, seconds: float = 60.0) -> subprocess.Popen[bytes]:
        """Wait until JetStream answers; raises Failure with its last words when it ends."""
        process = self._process or self.launch()
        children.wait_until(lambda: process.poll() is not None or self._is_ready(process), seconds)
        if process.poll() is not None or not self._is_ready(process):
            raise Failure(
                f"NATS did not start.{self._log.tail()}", try_next=f"less {self._log.path}"
            )
        return process

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            children.stop(self._process, (signal.SIGTERM, 10.0))

    def _configuration(self) -> str:
        # A JSON document is a configuration file too, and quotes what has to be quoted.
        return json.dumps(
            {
                "server_name": "customers",
                "listen": f"127.0.0.1:{self.port or -1}",
                "http": "127.0.0.1:-1",
                "ports_file_dir": str(self._folder),
                "pid_file": str(self._folder / "nats.pid"),
                "authorization": {"user": "customers", "password": self._password},
                "jetstream": {
                    "store_dir": str(self._folder),
                    "sync_interval": "always" if self._durable else "2m",
                },
            },
            indent=2,
        )

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        ports = self._ports(process.pid)
        if ports is None:
            return False
        self.port = urlsplit(ports.nats[0]).port or 0
        monitoring = http.client.HTTPConnection(
            "127.0.0.1", urlsplit(ports.monitoring[0]).port, timeout=2
        )
        try:
            monitoring.request("GET", "/healthz?js-enabled-only=true")
            return monitoring.getresponse().status == 200
        except OSError:
            return False
        finally:
            monitoring.close()

    def _ports(self, pid: int) -> _Ports | None:
        for path in self._folder.glob(f"*_{pid}.ports"):
            try:
                return msgspec.json.decode(path.read_bytes(), type=_Ports)
            except (OSError, msgspec.DecodeError):
                return None
        return None

    def _end_leftover(self) -> None:
        try:
            pid = int((self._folder / "nats.pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return
        leftover = children.identify(pid)
        if leftover is not None and children.has_argument(pid, str(self._config)):
            log.info("nats.leftover_ended", pid=pid)
            children.end(leftover, (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
