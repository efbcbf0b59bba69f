"""On what a run was made."""

import os
import platform
import re
import subprocess
from pathlib import Path

from runtime.embedded.binaries import find_nats, find_postgres


def describe(folder: Path) -> dict[str, object]:
    """Processors, memory, versions and commit, and the kind of disk that the folder is on."""
    postgres = str(find_postgres("") / "postgres")
    return {
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "disk": _file_system(folder),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgres": _said([postgres, "--version"]).rpartition(" ")[2],
        "nats": _said([str(find_nats("")), "--version"]).rpartition(" ")[2].removeprefix("v"),
        "commit": _commit(),
        "load_before": os.getloadavg()[0],
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _file_system(folder: Path) -> str:
    """The kind of the file system that the folder is on: in memory a flush costs nothing."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    mounts = {Path(parts[1]): parts[2] for parts in map(str.split, lines)}
    return next((mounts[one] for one in [folder, *folder.parents] if one in mounts), "unknown")


def _commit() -> str:
    commit = _said(["git", "rev-parse", "--short", "HEAD"])
    return f"{commit}, changed" if commit and _said(["git", "status", "--porcelain"]) else commit


def _said(command: list[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ran.stdout.strip()
