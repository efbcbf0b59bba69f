"""One Postgres server of our own: a child process on 127.0.0.1 that asks for a password."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import structlog

from runtime.embedded import binaries, children
from runtime.embedded.ports import free_port, is_free
from runtime.embedded.server_log import ServerLog
from runtime.failure import Failure

# The path of a socket may hold about 100 characters, so it never goes below the data folder.
_SOCKET_ROOM = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder only its user can enter
_SOCKET_PREFIX = "customers-pg-"
# No process can have this id.
_NO_PROCESS = "2147483646"
log = structlog.get_logger()


class EmbeddedPostgres:
    """A Postgres server that keeps its data in `<folder>/pg<major version>`.

    `durable=False` trades safety against a crash of the machine for speed: for tests alone.
    When we are root it runs as nobody, and where that user cannot reach the folder or the programs
    they get a folder of ours under /var/tmp.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str,
        port: int = 0,
        durable: bool = True,
        programs: str = "",
    ) -> None:
        folder = folder.resolve()
        self._user = binaries.unprivileged_user()
        self._programs = binaries.reachable_programs(binaries.find_postgres(programs), self._user)
        self._version = binaries.postgres_major_version(self._programs)
        self._base = binaries.reachable_folder(folder, self._user)
        self._is_moved = self._base != folder
        self._data = self._base / f"pg{self._version}"
        self._log = ServerLog(folder / "logs" / "postgres.log")
        self._password = password
        self._durable = durable
        # Points to where the socket is; the next start finds by it what this one may leave.
        self._sockets = self._base / "sockets"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port

    @property
    def url(self) -> str:
        """How to reach it, with full rights; known once it is launched."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, with a new data folder when there is none; `wait_ready` waits for it.

        What an earlier start left running on the same data is ended first. Started again, it
        listens where it did before.
        """
        self._end_leftover()
        if not self._data.exists():
            self._make_data()
        self._choose_port()
        self._make_sockets()
        with self._log.opened() as output:
            self._process = children.spawn(
                [self._programs / "postgres", "-D", self._data, *self._options()],
                env=_environment(),
                user=self._user,
                death_signal=signal.SIGINT,
                stdout=output,
                stderr=output,
            )
        return self._process

    def wait_ready(self, seconds: float = 60.0) -> subprocess.Popen[bytes]:
        """Wait until it takes connections; raises Failure with its last words when it ends."""
        deadline = time.monotonic() + seconds
        process = self._process or self.launch()
        while children.wait_until(partial(self._is_settled, process), deadline - time.monotonic()):
            if process.poll() is None:
                return process
            if self._log.mentions("could not bind"):
                self.port = 0
            elif not self._log.mentions("shared memory block"):
                break
            # Another program was quicker at that port, or a killed server is still ending.
            time.sleep(0.1)
            process = self.launch()
        raise Failure(
            f"Postgres did not start.{self._log.tail()}", try_next=f"less {self._log.path}"
        )

    def stop(self) -> None:
        """End it in order: sessions are cut, everything is written down."""
        if self._process is not None:
            children.stop(self._process, (signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))
        self._remove_sockets()

    def erase(self) -> None:
        """Remove its data, wherever it had to put them; only after `stop`."""
        shutil.rmtree(self._data, ignore_errors=True)
        if self._is_moved:
            shutil.rmtree(self._base, ignore_errors=True)

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._sockets.readlink()),
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Of a row that is refused, the log says why, and not what the customer is called.
            "log_error_verbosity": "terse",
        }
        if not self._durable:
            # No test lasts long enough to be vacuumed, and whoever makes and drops many databases
            # would wait for the workers that look after them.
            settings |= {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
        else:
            # The indexes of a million customers fit in; memory is taken as it is used.
            settings["shared_buffers"] = "512MB"
        return [part for item in settings.items() for part in ("-c", "=".join(item))]

    def _make_data(self) -> None:
        for cut_off in self._base.glob("new-*"):
            shutil.rmtree(cut_off)
        # Made aside and renamed when whole: a start that is cut off leaves nothing half made.
        room = Path(tempfile.mkdtemp(prefix="new-", dir=self._base))
        room.chmod(0o711)
        data, secret = room / "data", room / "password"
        data.mkdir(0o700)
        secret.touch(0o600)
        secret.write_text(self._password, encoding="utf-8")
        self._give(data, secret)
        log.info("postgres.data_made", folder=str(self._data))
        try:
            self._initdb(data, secret)
            data.rename(self._data)
        finally:
            shutil.rmtree(room)

    def _initdb(self, data: Path, secret: Path) -> None:
        command = [self._programs / "initdb", "-D", data, "--username=postgres"]
        command += [f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8"]
        command += ["--data-checksums", *([] if self._durable else ["--no-sync"])]
        for locale in _locales(self._version):
            with self._log.opened() as output:
                made = children.spawn(
                    [*command, *locale],
                    env=_environment(),
                    user=self._user,
                    death_signal=signal.SIGTERM,
                    stdout=output,
                    stderr=output,
                )
                code = made.wait()
            if code == 0:
                return
            if not self._log.mentions("invalid locale"):
                break
        raise Failure(
            f"initdb could not make {self._data}.{self._log.tail()}",
            try_next=f"less {self._log.path}",
        )

    def _is_settled(self, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            return True
        lines = self._lock_file()
        return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

    def _lock_file(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []

    def _end_leftover(self) -> None:
        lines = self._lock_file()
        if not lines or not lines[0].isdigit():
            return
        pid = int(lines[0])
        leftover = children.identify(pid)
        if leftover is not None and children.has_argument(pid, str(self._data)):
            log.info("postgres.leftover_ended", pid=pid)
            children.end(leftover, (signal.SIGINT, 5.0), (signal.SIGQUIT, 5.0))
        if self._lock_file()[:1] == lines[:1] and not children.has_argument(pid, str(self._data)):
            # The server is gone, but its id may live on: used again, or waiting to be reaped. That
            # would keep Postgres from starting; the rest of the file still guards the data.
            text = "\n".join([_NO_PROCESS, *lines[1:], ""])
            (self._data / "postmaster.pid").write_text(text, encoding="utf-8")

    def _choose_port(self) -> None:
        if self._process is not None and self.port:
            children.wait_until(partial(is_free, "127.0.0.1", self.port), 5.0)
        elif not self.port or not is_free("127.0.0.1", self.port):
            self.port = free_port()

    def _make_sockets(self) -> None:
        self._remove_sockets()
        room = Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir=_SOCKET_ROOM))
        self._give(room)
        self._sockets.symlink_to(room)

    def _remove_sockets(self) -> None:
        if not self._sockets.is_symlink():
            return
        room = self._sockets.readlink()
        if room.parent == _SOCKET_ROOM and room.name.startswith(_SOCKET_PREFIX):
            shutil.rmtree(room, ignore_errors=True)
        self._sockets.unlink()

    def _give(self, *paths: Path) -> None:
        for path in paths:
            if self._user is not None:
                os.chown(path, self._user.uid, self._user.gid)


def _locales(major_version: int) -> list[list[str]]:
    # Built in, so that order and case never change with the machine; the C library's own C.UTF-8
    # only classifies characters (pg_trgm asks for it), and not every one has it.
    if major_version >= 17:
        built_in = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return [[*built_in, "--lc-ctype=C.UTF-8"], built_in]
    return [["--locale=C.UTF-8"], ["--locale=C"]]


def _environment() -> dict[str, str]:
    # PGPORT, PGDATA and a foreign locale would change what the server does.
    kept = {"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"}
    return {"LC_ALL": "C", **{name: os.environ[name] for name in kept & os.environ.keys()}}
