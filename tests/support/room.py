"""Where a test run puts its files: in memory where there is plenty, for nothing outlives it."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from runtime.embedded import make_folder

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folder inside is made for this user alone
_PREFIX: Final = "customers-tests-"
# A run holds less than one GiB at a time.
_PLENTY: Final = 4 << 30


def make_room() -> Path | None:
    """A folder for this process and its children; None where memory is short, or TMPDIR says where.

    Hundreds of databases are made and dropped in a run: on a disk that takes most of its time.
    """
    if "TMPDIR" in os.environ or not _has_plenty():
        return None
    for left in _MEMORY.glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{left.name.removeprefix(_PREFIX)}").exists():
            shutil.rmtree(left, ignore_errors=True)
    room = _MEMORY / f"{_PREFIX}{os.getpid()}"
    make_folder(room)
    os.environ["TMPDIR"] = str(room)
    tempfile.tempdir = None
    return room


def _has_plenty() -> bool:
    try:
        found = os.statvfs(_MEMORY)
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    available = next((line for line in lines if line.startswith("MemAvailable:")), "x 0 kB")
    return (
        not found.f_flag & os.ST_NOEXEC
        and found.f_bavail * found.f_frsize >= _PLENTY
        and int(available.split()[1]) << 10 >= 2 * _PLENTY
    )
