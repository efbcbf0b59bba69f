"""The benchmarks as they are called, with little data: what they say, never how fast it was."""

import json
import os
import subprocess
import sys
from pathlib import Path


def bench(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run them to their end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        env=os.environ | {"COLUMNS": "100"} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_measure_finds_figures_and_a_report_holds_them(tmp_path: Path) -> None:
    ran = bench("--quick", "--only", "visible", "--out", str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["failed"] == report["skipped"] == {}
    assert {row["stage"] for row in report["rows"]} == {"visible"}
    assert all(row["ours"] > 0 for row in report["rows"])
    assert "visible, 500 writes/s, p99" in ran.stdout
    assert (tmp_path / "latencies.png").read_bytes().startswith(b"\x89PNG")


def test_what_needs_a_program_that_is_not_there_is_skipped_with_a_word(tmp_path: Path) -> None:
    ran = bench("--quick", "--only", "get", "--out", str(tmp_path), PATH=str(tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "skipped get: wrk is not on PATH: apt install wrk" in ran.stdout
