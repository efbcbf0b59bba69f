"""What `customers prove` prints is verified by the README's program, as it stands there."""

import json
import runpy
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from runtime.settings import Settings
from tests.support.readme import block
from tests.support.servers import Servers
from tests.support.tampering import EVENTS, SIGNING_KEYS, TamperedLog, a_log_to_tamper_with


@pytest.fixture(scope="module")
def opened(servers: Servers, template: str) -> Generator[TamperedLog]:
    """The log of this module."""
    with a_log_to_tamper_with(servers, template, "tampered_proofs") as log:
        yield log


@pytest.fixture
def tampered(opened: TamperedLog) -> TamperedLog:
    """That log, as it was in the beginning."""
    opened.restore()
    return opened


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's program, in a folder where nothing of ours can be imported from."""
    file = tmp_path_factory.mktemp("audit") / "audit.py"
    text = block("Verify without the service", "python")
    assert text.count("\n") <= 60
    file.write_text(text, encoding="utf-8")
    return file


def audited(program: Path, keys: str, *proofs: Any) -> subprocess.CompletedProcess[str]:
    """The program, given proofs."""
    return subprocess.run(
        [sys.executable, "-I", program, keys],
        input="\n".join(map(json.dumps, proofs)),
        cwd=program.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def heads_at(log: TamperedLog, folder: Path, *positions: int) -> list[Path]:
    """Heads signed when the log ended there."""
    files: list[Path] = []
    for position in positions:
        log.restore()
        log.owner.execute("DELETE FROM log.events WHERE position > %s", [position])
        files.append(folder / f"head-{position}.jsonl")
        assert log.run("head", "--out", str(files[-1])).code == 0
    log.restore()
    return files


def proven(log: TamperedLog, *arguments: str) -> Any:
    """A proof that the command makes."""
    ran = log.run("prove", *arguments)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_the_program_of_the_readme_verifies_events_and_heads_and_finds_every_forgery(
    tampered: TamperedLog, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, newer = map(str, heads_at(tampered, tmp_path, 5, EVENTS))
    keys = tampered.run("signing-keys", "public").out.strip()
    event = proven(tampered, "4", "--head", newer)
    erased = proven(tampered, "9", "--head", newer)
    grown = proven(tampered, "--consistency", older, newer)
    same = proven(tampered, "--consistency", newer, newer)

    fine = audited(program, keys, event, erased, grown, same)
    assert (fine.returncode, fine.stderr) == (0, "")
    assert [line.split(" in the log")[0] for line in fine.stdout.splitlines()] == [
        "proven: event 4 is",
        "proven: event 9 is",
        "proven: all events up to 5 are",
        f"proven: all events up to {EVENTS} are",
    ]
    forgeries = [
        *(event | {"event": event["event"] | change} for change in _changes(event["event"])),
        event | {"path": event["path"][:-1]},
        event | {"tree_size": EVENTS + 1},
        event | {"head": event["head"] | {"time": "2026-01-01T00:00:00.000000Z"}},
        event | {"head": grown["old_head"]},
        grown | {"path": grown["path"][::-1]},
        grown | {"old_root": grown["root"]},
        grown | {"old_size": 4},
        grown | {"old_head": grown["old_head"] | {"chain": "0" * 64}},
    ]
    assert audited(program, keys, forgeries[-1]).returncode == 1
    for forgery in forgeries:
        monkeypatch.setattr(sys, "argv", ["audit.py", keys])
        monkeypatch.setattr(sys, "stdin", [json.dumps(forgery)])
        with pytest.raises((SystemExit, InvalidSignature)):
            runpy.run_path(str(program))


def _changes(event: Any) -> list[dict[str, Any]]:
    """Another value for every column."""
    changed: dict[str, Any] = {
        "stream_id": event["event_id"],
        "event_id": event["stream_id"],
        "command_id": event["stream_id"],
        "data_key_id": None,
        "payload": event["payload"][4:],
        "metadata": "e30KCg==",
        "recorded_at": "2026-01-01T00:00:00.000000Z",
        "digest": event["chain"],
    }
    for name, value in event.items():
        if name not in changed and name != "chain":
            changed[name] = value + 1 if isinstance(value, int) else f"{value}x"
    return [{name: value} for name, value in changed.items()]


def test_an_event_is_proven_to_the_newest_head_that_has_it_else_to_the_log_as_it_is(
    tampered: TamperedLog,
) -> None:
    assert proven(tampered, "3")["head"] is None
    assert proven(tampered, "3")["tree_size"] == EVENTS
    assert proven(tampered, "3", "--size", "4")["tree_size"] == 4
    signed = json.loads(tampered.run("head").out)
    assert proven(tampered, "3")["head"] == signed


def test_nothing_is_proven_of_a_log_that_was_changed(tampered: TamperedLog, tmp_path: Path) -> None:
    (head,) = heads_at(tampered, tmp_path, EVENTS)
    tampered.owner.execute("UPDATE log.events SET metadata = '{ }' WHERE position = 3")
    changed = tampered.run("prove", "3", "--head", str(head))
    tampered.rechain()
    rewritten = tampered.run("prove", "3", "--head", str(head))
    beyond = tampered.run("prove", "13")

    assert [ran.code for ran in (changed, rewritten, beyond)] == [1, 1, 1]
    assert "Event 3 was changed: its columns do not give its digest." in changed.err
    assert "The log has another Merkle root than the head of 2" in rewritten.err
    assert "There is no position 13 yet: the log ends at 12." in beyond.err


def test_what_a_proof_is_asked_for_wrongly_is_said(tampered: TamperedLog, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    torn = tmp_path / "torn.jsonl"
    torn.write_text('{"log":1}\n')
    for arguments, code, words in (
        ((), 2, "Say either the POSITION of an event"),
        (("1", "--consistency", "1", "2"), 2, "Say either the POSITION of an event"),
        (("1", "--size", "2", "--head", str(empty)), 2, "exclude one another"),
        (("3", "--size", "2"), 2, "has no position 3"),
        (("--consistency", "3", "2"), 2, "takes the smaller log first"),
        (("--consistency", "0", "2"), 2, "neither a file nor a number"),
        (("1", "--head", str(empty)), 1, "holds no head over 1"),
        (("1", "--head", str(torn)), 1, "Line 1 of"),
    ):
        ran = tampered.run("prove", *arguments)
        assert (ran.code, words in " ".join(ran.err.split())) == (code, True), ran.err


def test_keys_are_made_rotated_and_shown_to_the_auditor(settings: Settings) -> None:
    log = TamperedLog(settings, None)  # pyright: ignore[reportArgumentType] - no database is needed
    fresh = log.run("signing-keys", "new").out.strip()
    both = {"CUSTOMERS_SIGNING_KEYS": f"{fresh},{SIGNING_KEYS}"}
    ids = [entry.partition(":")[0] for entry in both["CUSTOMERS_SIGNING_KEYS"].split(",")]
    public = log.run("signing-keys", "public", **both).out.strip()
    pem = log.run("signing-keys", "public", "--pem", **both).out
    auditor = log.run(
        "signing-keys", "public", CUSTOMERS_SIGNING_KEYS="", CUSTOMERS_AUDIT_KEYS=public
    )
    none = log.run("signing-keys", "public", CUSTOMERS_SIGNING_KEYS="")

    assert [entry.partition(":")[0] for entry in public.split(",")] == ids
    assert fresh.partition(":")[2] not in public
    assert auditor.out.strip() == public
    assert pem.count("-----BEGIN PUBLIC KEY-----") == 2
    assert (none.code, "CUSTOMERS_SIGNING_KEYS is not set" in none.err) == (1, True)
