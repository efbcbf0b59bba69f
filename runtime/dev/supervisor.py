"""Keeps child processes running: starts them, starts again what dies, ends all of them in order.

Everything that happens (a child ended or said a line, a person pressed Ctrl-C) is an event in one
queue, which one thread takes in turn. Threads that only wait put them there.
"""

import math
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from signal import Signals
from types import FrameType
from typing import IO

import structlog
from msgspec import Struct
from msgspec.structs import replace

from runtime.failure import Failure

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
_LAST_WORDS_SECONDS = 1.0
# A signal that comes just before a wait, or that the kernel gives to another thread, does not end
# the wait; its handler runs when the wait is over. So no wait is longer than this.
_SIGNAL_SECONDS = 0.1
# A child that ran this long before it died is not failing at its start.
_STEADY_SECONDS = 30.0
log = structlog.get_logger()


class Service(Struct, frozen=True, kw_only=True):
    """A child to keep running: how to start it, and how to ask it to end, step by step."""

    name: str
    launch: Callable[[], subprocess.Popen[bytes]]
    stop_steps: tuple[tuple[Signals, float], ...]


class Ended(Struct, frozen=True, kw_only=True):
    """A child ended; `code` is its exit status, or the negative number of a signal."""

    name: str
    code: int
    ran_seconds: float = 0.0


class Said(Struct, frozen=True, kw_only=True):
    """A child wrote a line to its stdout."""

    name: str
    line: str


class Asked(Struct, frozen=True):
    """A person or the system asked us to stop."""


Event = Ended | Said | Asked


class _Running(Struct, frozen=True, kw_only=True):
    process: subprocess.Popen[bytes]
    since: float


class Supervisor:
    """Child processes by name; `on_start` learns of each start, `on_log` of each line on stderr."""

    def __init__(
        self, *, on_start: Callable[[str, int], None], on_log: Callable[[str, str], None]
    ) -> None:
        self._on_start = on_start
        self._on_log = on_log
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._running: dict[str, _Running] = {}
        self._services: dict[str, Service] = {}
        self._pauses: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self.times_asked = 0
        self._is_interruptible = True

    def listen(self) -> None:
        """Take Ctrl-C and SIGTERM: while starting as KeyboardInterrupt, later as an event."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._asked)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        self.times_asked += 1
        if self._is_interruptible:
            self._is_interruptible = False
            raise KeyboardInterrupt
        self._events.put(Asked())

    def pids(self) -> dict[str, int]:
        """The process ids of what runs now."""
        return {name: running.process.pid for name, running in self._running.items()}

    def start(self, service: Service) -> None:
        """Start a child and watch it; raises Failure or OSError when it cannot be started."""
        self.watch(service, service.launch())

    def watch(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        """Watch a child that runs already, as one we started."""
        self._services[service.name] = service
        self._running[service.name] = _Running(process=process, since=time.monotonic())
        readers: list[threading.Thread] = []
        if process.stdout is not None:
            readers.append(_start_thread(self._read_output, service.name, process.stdout))
        if process.stderr is not None:
            readers.append(_start_thread(self._read_log, service.name, process.stderr))
        _start_thread(self._wait_for_end, service.name, process, readers)
        self._on_start(service.name, process.pid)

    def next_event(self, seconds: float | None = None) -> Event | None:
        """The next thing that happens, or None when nothing does in this time."""
        event = self._take_event(seconds)
        if isinstance(event, Ended):
            running = self._running.pop(event.name)
            return replace(event, ran_seconds=time.monotonic() - running.since)
        return event

    def _take_event(self, seconds: float | None) -> Event | None:
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                return self._events.get(timeout=min(left, _SIGNAL_SECONDS))
            except queue.Empty:
                if left <= _SIGNAL_SECONDS:
                    return None

    def keep_running(self) -> None:
        """Start again whatever dies, until somebody asks us to stop."""
        self._is_interruptible = False
        if self.times_asked:
            return
        while True:
            event = self.next_event(self._start_due())
            if isinstance(event, Asked):
                return
            if isinstance(event, Ended):
                self._plan_restart(event)

    def stop(self, names: Sequence[str]) -> None:
        """End the children in this order; asked a second time, kill all of them at once."""
        self._is_interruptible = False
        for name in names:
            running = self._running.get(name)
            if running is None:
                continue
            for step, seconds in (*self._services[name].stop_steps, (signal.SIGKILL, 10.0)):
                running.process.send_signal(step)
                if self._await_end(name, seconds):
                    break
        for running in self._running.values():
            running.process.kill()
        while self._running:
            self.next_event()

    def _await_end(self, name: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while name in self._running:
            if self.times_asked > 1:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.next_event(left)
        return True

    def _plan_restart(self, ended: Ended) -> None:
        pause = min(self._pauses.get(ended.name, 0.0) * 2, _LONGEST_PAUSE_SECONDS)
        if ended.ran_seconds > _STEADY_SECONDS or not pause:
            pause = _FIRST_PAUSE_SECONDS
        self._pauses[ended.name] = pause
        self._due[ended.name] = time.monotonic() + pause
        log.warning("dev.child_ended", child=ended.name, code=ended.code, restart_seconds=pause)

    def _start_due(self) -> float | None:
        """Start what is due; the seconds until something is due next."""
        for name in [name for name, due in self._due.items() if due <= time.monotonic()]:
            del self._due[name]
            try:
                self.start(self._services[name])
            except (Failure, OSError) as error:
                log.warning("dev.restart_failed", child=name, reason=str(error))
                self._plan_restart(Ended(name=name, code=-1))
        return max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None

    def _wait_for_end(
        self, name: str, process: subprocess.Popen[bytes], readers: list[threading.Thread]
    ) -> None:
        code = process.wait()
        # Its last words come first, unless a child of its own keeps the pipe.
        for reader in readers:
            reader.join(_LAST_WORDS_SECONDS)
        if process.stdin is not None:
            process.stdin.close()
        self._events.put(Ended(name=name, code=code))

    def _read_output(self, name: str, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._events.put(Said(name=name, line=line.decode(errors="replace").strip()))

    def _read_log(self, name: str, output: IO[bytes]) -> None:
        with output:
            for line in output:
                # Read on when nobody takes the lines any more: a full pipe would stop the child.
                with suppress(OSError, ValueError):
                    self._on_log(name, line.decode(errors="replace").rstrip())


def _start_thread(target: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread
