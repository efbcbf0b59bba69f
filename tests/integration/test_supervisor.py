"""The supervisor of `customers dev`: what dies is started again, and the end comes in order."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from runtime.dev.supervisor import Ended, Said, Service, Supervisor
from runtime.embedded import children
from runtime.failure import Failure

SAYS_AND_WAITS = "import sys; print('ready', flush=True); print('a line', file=sys.stderr); input()"
STEPS = ((signal.SIGTERM, 5.0),)


def launch(code: str) -> subprocess.Popen[bytes]:
    """A Python child with all its pipes."""
    return children.spawn(
        [sys.executable, "-u", "-c", code],
        env=os.environ,
        death_signal=signal.SIGKILL,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


class Notes:
    """What a supervisor told."""

    def __init__(self) -> None:
        self.starts: list[str] = []
        self.lines: list[tuple[str, str]] = []


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def supervisor(notes: Notes) -> Generator[Supervisor]:
    """One that is stopped in the end."""
    supervisor = Supervisor(
        on_start=lambda name, _pid: notes.starts.append(name),
        on_log=lambda name, line: notes.lines.append((name, line)),
    )
    yield supervisor
    supervisor.stop(list(supervisor.pids()))


@pytest.fixture
def handlers() -> Generator[None]:
    """Gives the signals back to who had them."""
    before = {number: signal.getsignal(number) for number in (1, 2, 15)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def a_service(name: str, code: str = SAYS_AND_WAITS) -> Service:
    return Service(name=name, launch=partial(launch, code), stop_steps=STEPS)


def interrupt_when(condition: Callable[[], bool]) -> threading.Thread:
    """A person who presses Ctrl-C as soon as something is so.

    The signal reaches this thread, as the kernel may choose: it interrupts no wait of another.
    """

    def watch() -> None:
        children.wait_until(condition, 20.0)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_what_a_child_says_arrives(supervisor: Supervisor, notes: Notes) -> None:
    supervisor.start(a_service("one"))

    assert supervisor.next_event(10.0) == Said(name="one", line="ready")
    assert children.wait_until(lambda: notes.lines == [("one", "a line")], 10.0)


def test_an_end_is_told_with_its_status(supervisor: Supervisor) -> None:
    supervisor.start(a_service("one", "raise SystemExit(3)"))

    event = supervisor.next_event(10.0)

    assert isinstance(event, Ended)
    assert (event.name, event.code) == ("one", 3)
    assert supervisor.pids() == {}


def test_a_child_that_dies_is_started_again(
    supervisor: Supervisor, notes: Notes, handlers: None
) -> None:
    supervisor.listen()
    supervisor.start(a_service("one"))
    first = supervisor.pids()["one"]
    supervisor.next_event(10.0)
    os.kill(first, signal.SIGKILL)
    person = interrupt_when(lambda: supervisor.pids().get("one", first) != first)

    supervisor.keep_running()

    person.join()
    assert notes.starts == ["one", "one"]


def test_a_child_that_cannot_start_is_tried_again_more_and_more_slowly(
    supervisor: Supervisor, handlers: None
) -> None:
    tried: list[float] = []

    def fail() -> subprocess.Popen[bytes]:
        tried.append(time.monotonic())
        if len(tried) == 1:
            return launch("raise SystemExit(1)")
        raise Failure("not now", "later")

    supervisor.listen()
    supervisor.start(Service(name="one", launch=fail, stop_steps=STEPS))
    person = interrupt_when(lambda: len(tried) == 4)

    supervisor.keep_running()

    person.join()
    pauses = [after - before for before, after in pairwise(tried[1:])]
    assert pauses[0] > 0.15
    assert pauses[1] > 0.35


def test_children_end_in_the_order_asked_for(supervisor: Supervisor, tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = (
        "import signal, sys\n"
        f"def end(*_):\n open({str(told)!r}, 'a').write(sys.argv[-1] + ' ')\n sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('ready'); signal.pause()"
    )
    for name in ("a", "b", "c"):
        supervisor.start(a_service(name, code.replace("sys.argv[-1]", repr(name))))
        supervisor.next_event(10.0)

    supervisor.stop(["c", "a", "b"])

    assert told.read_text() == "c a b "
    assert supervisor.pids() == {}


def test_asked_a_second_time_it_waits_for_nobody(
    supervisor: Supervisor, notes: Notes, handlers: None
) -> None:
    deaf = (
        "import signal, sys\n"
        "signal.signal(15, lambda *_: print('heard', file=sys.stderr)); print('ready')\n"
        "while True: signal.pause()"
    )
    supervisor.listen()
    supervisor.start(
        Service(name="one", launch=partial(launch, deaf), stop_steps=((signal.SIGTERM, 60.0),))
    )
    supervisor.next_event(10.0)
    first = interrupt_when(lambda: ("one", "heard") in notes.lines)
    second = interrupt_when(lambda: supervisor.times_asked == 1)
    began = time.monotonic()

    supervisor.stop(["one"])

    for person in (first, second):
        person.join()
    assert supervisor.pids() == {}
    assert time.monotonic() - began < 30
