"""Our own processes as children of `customers dev`: api, relay, projector, and the scrub.

Each starts as `customers <name> --with-parent`: it loads its code, waits for a line on stdin before
it touches a server, and ends when stdin does, because then its parent is gone.
"""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial

from runtime.dev.supervisor import Ended, Service, Supervisor
from runtime.embedded import children
from runtime.failure import Failure

NAMES = ("api", "relay", "projector", "scrub")
_GO = b"go\n"
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.02


def url_of(host: str, port: int) -> str:
    """Where this machine reaches a server that listens there."""
    reachable = _reachable(host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _reachable(host: str) -> str:
    is_any = host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
    return "127.0.0.1" if is_any else host


class OwnProcesses:
    """All of them, under a supervisor."""

    def __init__(
        self, host: str, port: int, environment: Mapping[str, str], supervisor: Supervisor
    ) -> None:
        self._host = host
        self._port = port
        self._environment = {**os.environ, **environment}
        self._supervisor = supervisor
        self._is_released = False
        self._waiting: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start loading them; they touch no server before `release`."""
        for name in NAMES:
            self._supervisor.start(
                Service(
                    name=name,
                    launch=partial(self._launch, name),
                    stop_steps=((signal.SIGTERM, 10.0),),
                )
            )

    def release(self) -> None:
        """Let them go."""
        self._is_released = True
        for process in self._waiting:
            _say_go(process)
        self._waiting.clear()

    def wait_ready(self) -> None:
        """Wait until the API is ready; raises Failure when a child ends instead."""
        deadline = time.monotonic() + _READY_SECONDS
        answer = "it does not answer"
        while time.monotonic() < deadline:
            event = self._supervisor.next_event(_POLL_SECONDS)
            if isinstance(event, Ended):
                raise Failure(
                    f"{event.name} ended at its start, with exit status {event.code}; "
                    "its last lines say why.",
                    "customers doctor",
                )
            status, answer = self._health()
            if status == 200:
                return
        raise Failure(
            f"The API is not ready after {_READY_SECONDS:.0f} s: {answer}.", "customers status"
        )

    def _launch(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "runtime.cli", name, "--with-parent"]
        if name == "scrub":
            command.append("--every")
        if name == "api":
            command += ["--host", self._host, "--port", str(self._port)]
        process = children.spawn(
            command,
            env=self._environment,
            death_signal=signal.SIGTERM,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if self._is_released:
            _say_go(process)
        else:
            self._waiting.append(process)
        return process

    def _health(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection(_reachable(self._host), self._port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            answer = connection.getresponse()
            return answer.status, answer.read(1000).decode(errors="replace")
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()


def _say_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is None:
        raise AssertionError("our own processes have a pipe as stdin")
    try:
        process.stdin.write(_GO)
        process.stdin.flush()
    except (BrokenPipeError, ValueError):
        # It ended already, and its pipe may be closed; the supervisor tells.
        return
