"""schemathesis tests a running service by its document, and finds nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtime.documents import api_document
from runtime.web.envelope import BASE_PATH
from tests.support.dev import PATIENT, a_place, running_dev

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parent.parent.parent
LEAST_CASES = 2000
CASES_PER_CALL = int(os.environ.get("CUSTOMERS_SCHEMATHESIS_CASES", "8"))
"""For a longer run: CUSTOMERS_SCHEMATHESIS_CASES=500 pytest tests/contract/test_schemathesis.py"""


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The document, but nothing in an answer may be there without being described.

    To callers it says otherwise: members may be added to answers.
    """
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return document


def with_events_of_streams(document: dict[str, Any]) -> dict[str, Any]:
    """The document, but a stream is described as schemathesis checks it: event by event."""
    event = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "minLength": 1},
            "event": {"type": "string"},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"$ref": "#/components/schemas/CloudEvent"},
            },
        },
        "required": ["id", "event", "data"],
    }
    for operation in document["paths"][f"{BASE_PATH}/events/stream"].values():
        for content in operation["responses"]["200"].get("content", {}).values():
            content["schema"] = event
    return document


def run_schemathesis(url: str, api_key: str, place: Path) -> tuple[int, str, dict[str, Any]]:
    """Exit status, what was printed, and the report of a run with all checks and all phases."""
    document = place / "openapi.json"
    document.write_bytes(
        msgspec.json.encode(with_events_of_streams(closed(msgspec.json.decode(api_document()))))
    )
    report = place / "report.json"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(Path(__file__).parent / "schemathesis.toml")),
            *("run", str(document), "--url", url),
            *("--phases", "examples,coverage,fuzzing,stateful", "--mode", "all"),
            # One worker: in Python 3.11 two threads that parse source at once disturb each other.
            *("--checks", "all", "--max-examples", str(CASES_PER_CALL), "--workers", "1"),
            "--generation-deterministic",
            *("--continue-on-failure", "--no-color", "--report-json-path", str(report)),
        ],
        cwd=place,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
            "CUSTOMERS_API_KEY": api_key,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(report.read_bytes()) if report.exists() else {}
    return ran.returncode, ran.stdout + ran.stderr, found


def test_schemathesis_finds_nothing_in_two_thousand_cases() -> None:
    with (
        a_place() as place,
        running_dev(place, "--ephemeral", CUSTOMERS_RATE_LIMIT="0", **PATIENT) as dev,
    ):
        status, printed, report = run_schemathesis(dev.said["url"], dev.said["api_key"], place)

    assert status == 0, printed
    assert (report["complete"], report["failures"], report["errors"]) == (True, [], [])
    assert {phase["status"] for phase in report["phases"].values()} == {"success"}
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert report["test_cases"]["generated"] >= LEAST_CASES
