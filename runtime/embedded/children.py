"""Child processes that die with their parent, and how one is recognised and ended later.

A process id alone never proves which process it is: ids are used again. So a process is known by
its id and the time it started, or by an argument only it was given.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import Signals

from msgspec import Struct

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.01


class User(Struct, frozen=True, kw_only=True):
    """The unprivileged user a server runs as when we are root."""

    uid: int
    gid: int


class Identity(Struct, frozen=True, kw_only=True):
    """One process, and not another that got its id later."""

    pid: int
    started: str


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    death_signal: Signals,
    user: User | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches it only through us.

    On Linux it gets `death_signal` when the thread that called this ends: call it from one that
    lives as long as the child should.
    """
    return subprocess.Popen(
        [str(part) for part in command],
        env=dict(env),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        # Last before exec, because setuid clears it.
        preexec_fn=_die_with(os.getpid(), death_signal),  # noqa: PLW1509 - takes no lock
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
    )


def _die_with(parent: int, death_signal: Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def arrange() -> None:
        # The parent may have died before the wish was known to the kernel.
        if prctl(_PR_SET_PDEATHSIG, int(death_signal)) != 0 or os.getppid() != parent:
            os._exit(1)

    return arrange


def identify(pid: int) -> Identity | None:
    """The process that has this id now, or None; one that only waits to be reaped is none."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        state, *rest = stat.rpartition(")")[2].split()
        return None if state in "ZX" else Identity(pid=pid, started=rest[18])
    state, _, started = _ask_ps(pid, "state=,lstart=").strip().partition(" ")
    return None if not state or state.startswith("Z") else Identity(pid=pid, started=started)


def has_argument(pid: int, argument: str) -> bool:
    """Whether the process with this id lives and was started with exactly this argument."""
    if identify(pid) is None:
        return False
    if sys.platform == "linux":
        try:
            return argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
    return argument in _ask_ps(pid, "command=")


def _ask_ps(pid: int, columns: str) -> str:
    asked = subprocess.run(
        ["ps", "-o", columns, "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout


def end(identity: Identity, *steps: tuple[Signals, float]) -> bool:
    """Send each signal in turn and wait its seconds; True as soon as the process is gone."""
    for step, seconds in steps:
        if identify(identity.pid) != identity:
            return True
        try:
            os.kill(identity.pid, step)
        except ProcessLookupError:
            return True
        if wait_until(lambda: identify(identity.pid) != identity, seconds):
            return True
    return False


def stop(process: subprocess.Popen[bytes], *steps: tuple[Signals, float]) -> None:
    """Send our own child each signal in turn, waiting its seconds; SIGKILL ends the list."""
    for step, seconds in (*steps, (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        process.send_signal(step)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def wait_until(is_true: Callable[[], bool], seconds: float) -> bool:
    """Ask again every hundredth of a second; False when the time is over."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
