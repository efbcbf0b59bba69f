"""A process that `customers dev` started: it waits for its parent's word and ends with it.

The parent holds the other end of our stdin. A line there means go; its end means that the parent is
gone, however that happened, on every system.
"""

import os
import signal
import sys
import threading
import time

_PATIENCE_SECONDS = 15.0


def wait_for_parent() -> None:
    """Return when the parent says so, and from then on end in order when the parent is gone."""
    stdin = sys.stdin.fileno()
    if not os.read(stdin, 1024):
        sys.exit(1)
    threading.Thread(target=_follow, args=(stdin,), daemon=True).start()


def _follow(stdin: int) -> None:
    while os.read(stdin, 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_SECONDS)
    os._exit(1)
