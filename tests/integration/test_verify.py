"""`customers verify` finds every change that somebody with all rights can make, and says where."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.servers import Servers
from tests.support.tampering import ERASED, EVENTS, TamperedLog, a_log_to_tamper_with

# Another value for each column of event 5, as close to the true one as can be.
CHANGES = {
    "log_id": "log_id + 1",
    "position": "position + 100",
    "workspace_id": "'acne'",
    "workspace_sequence": "workspace_sequence + 100",
    "stream_id": "gen_random_uuid()",
    "stream_version": "stream_version + 100",
    "event_id": "gen_random_uuid()",
    "command_id": "gen_random_uuid()",
    "type": "'CustomerDeleted'",
    "schema_version": "schema_version + 1",
    "data_key_id": "gen_random_uuid()",
    "payload": "set_byte(payload, 40, (get_byte(payload, 40) + 1) % 256)",
    "metadata": "'{ }'",
    "recorded_at": "recorded_at + interval '1 microsecond'",
    "digest": "set_byte(digest, 31, (get_byte(digest, 31) + 1) % 256)",
    "chain": "set_byte(chain, 0, (get_byte(chain, 0) + 1) % 256)",
}
# A change that fits no column of the log, where no constraint is left to refuse it.
IMPOSSIBLE = {
    "digest": "'\\x00'",
    "chain": "chain || chain",
    "payload": "''",
    "data_key_id": "NULL",
}


@pytest.fixture(scope="module")
def opened(servers: Servers, template: str) -> Generator[TamperedLog]:
    """The log of this module."""
    with a_log_to_tamper_with(servers, template, "tampered_verify") as log:
        yield log


@pytest.fixture
def tampered(opened: TamperedLog) -> TamperedLog:
    """That log, as it was in the beginning."""
    opened.restore()
    return opened


def test_a_log_that_is_what_was_written_passes(tampered: TamperedLog) -> None:
    said = tampered.verify()["verified"]
    told = tampered.run("verify").out
    assert (said["first"], said["end"], said["faults"]) == (1, EVENTS, [])
    assert "✓ events 1 to 12 of log 1, generation 1 are what was written" in told
    assert said["chain"] in told
    assert said["root"] in told
    assert "no signed head was compared" in told


def test_every_column_is_tried(tampered: TamperedLog) -> None:
    columns = tampered.owner.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'log.events'::regclass AND attnum > 0"
    )
    assert {name for (name,) in columns} == set(CHANGES)


@pytest.mark.parametrize("column", CHANGES)
def test_a_change_of_any_column_is_found_at_its_position(
    tampered: TamperedLog, column: str
) -> None:
    tampered.change(f"{column} = {CHANGES[column]} WHERE position = 5")
    said = tampered.verify()
    assert said["first_bad_position"] == 5
    assert "digests and chain were verified up to 4, and not behind" in said["verified"]["notes"]


@pytest.mark.parametrize("column", IMPOSSIBLE)
def test_a_value_that_no_event_can_have_is_found_too(tampered: TamperedLog, column: str) -> None:
    tampered.change(f"{column} = {IMPOSSIBLE[column]} WHERE position = 5")
    assert tampered.first_bad()[0] == 5


def test_two_events_that_changed_places_are_found_at_the_first(tampered: TamperedLog) -> None:
    tampered.change("position = CASE position WHEN 4 THEN 8 ELSE 4 END WHERE position IN (4, 8)")
    assert tampered.first_bad()[0] == 4


@pytest.mark.parametrize("missing", [1, 5])
def test_an_event_that_was_deleted_is_named(tampered: TamperedLog, missing: int) -> None:
    tampered.owner.execute("DELETE FROM log.events WHERE position = %s", [missing])
    assert tampered.first_bad() == (missing, f"is missing: the next event is {missing + 1}")


def test_an_event_that_was_added_is_named(tampered: TamperedLog) -> None:
    tampered.owner.execute("INSERT INTO log.events SELECT * FROM log.events WHERE position = 5")
    assert tampered.first_bad()[0] in {5, 6}


def test_a_tail_that_was_cut_off_is_found_by_a_head(tampered: TamperedLog, tmp_path: Path) -> None:
    kept = tmp_path / "heads.jsonl"
    assert tampered.run("head", "--out", str(kept)).code == 0
    tampered.owner.execute("DELETE FROM log.events WHERE position > 9")
    tampered.owner.execute("DELETE FROM log.heads")

    assert tampered.first_bad() == (None, "")
    position, words = tampered.first_bad("--head", str(kept))
    assert position == 10
    assert "is missing: the log ends at 9, and the head of 2" in words


def test_a_log_that_was_rewritten_as_a_whole_is_found_by_an_older_head(
    tampered: TamperedLog, tmp_path: Path
) -> None:
    kept = tmp_path / "heads.jsonl"
    tampered.owner.execute("DELETE FROM log.events WHERE position > 4")
    assert tampered.run("head", "--out", str(kept)).code == 0
    tampered.restore()
    assert tampered.run("head", "--out", str(kept)).code == 0
    tampered.owner.execute("DELETE FROM log.heads")
    tampered.change("metadata = '{ }' WHERE position = 6")
    tampered.rechain()

    assert tampered.first_bad() == (None, "")
    position, words = tampered.first_bad("--head", str(kept))
    assert position == EVENTS
    assert words.endswith("has another chain: the log was rewritten somewhere from 5 to 12")


@pytest.mark.parametrize(
    ("change", "position", "words"),
    [
        ("stream_version = 7 WHERE position = 5", 5, "and 6 is missing"),
        ("stream_version = 2 WHERE position = 5", 5, "is a second version 2"),
        ("workspace_sequence = 11 WHERE position = 12", 12, "is 11 where 9 is due"),
        ("workspace_sequence = 2 WHERE position = 1", 1, "there is no 1 before"),
        ("recorded_at = '2020-01-01Z' WHERE position = 8", 8, "before the event in front"),
        (
            "stream_version = CASE position WHEN 1 THEN 2 ELSE 1 END WHERE position IN (1, 3)",
            1,
            "and stands before 1",
        ),
    ],
)
def test_what_no_log_can_be_is_found_though_digests_and_chain_fit(
    tampered: TamperedLog, change: str, position: int, words: str
) -> None:
    tampered.change(change)
    tampered.rechain()
    found, said = tampered.first_bad()
    assert found == position
    assert words in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM keyring.data_keys k", "no CustomerErased accounts for that"),
        ("UPDATE keyring.data_keys k SET stream_id = gen_random_uuid()", "another customer"),
        ("UPDATE keyring.data_keys k SET workspace_id = 'acne'", "another customer"),
        ("UPDATE keyring.data_keys k SET wrapped = set_byte(wrapped, 20, 0)", "does not open"),
    ],
)
def test_a_key_that_is_gone_or_forged_is_found_where_it_is_needed_first(
    tampered: TamperedLog, change: str, words: str
) -> None:
    whose = " WHERE k.stream_id = (SELECT stream_id FROM log.events WHERE position = 2)"
    tampered.owner.execute((change + whose).encode())
    position, said = tampered.first_bad()
    assert position == 2
    assert words in said


def test_a_key_that_an_erasure_destroyed_is_no_fault_and_one_without_is(
    tampered: TamperedLog,
) -> None:
    created, _ = ERASED
    assert tampered.verify()["ok"]
    tampered.owner.execute("DELETE FROM log.events WHERE type = 'CustomerErased'")
    faults = tampered.verify()["verified"]["faults"]
    assert faults[0]["position"] == created
    assert "data key is gone" in faults[0]["what"]


def test_of_a_part_only_that_part_is_verified_and_it_says_with_what_it_began(
    tampered: TamperedLog, tmp_path: Path
) -> None:
    kept = tmp_path / "heads.jsonl"
    tampered.owner.execute("DELETE FROM log.events WHERE position > 4")
    assert tampered.run("head", "--out", str(kept)).code == 0
    tampered.restore()
    tampered.change("metadata = '{ }' WHERE position IN (2, 9)")

    alone = tampered.verify("--from", "5", "--to", "8")["verified"]
    trusting = tampered.verify("--from", "5", "--to", "8", "--head", str(kept))["verified"]
    assert alone["start"] == "the chain that the log itself says is that of position 4"
    assert trusting["start"].startswith("the head of 2")
    assert (alone["end"], alone["root"], alone["faults"]) == (8, None, [])
    assert tampered.first_bad("--from", "5")[0] == 9


def test_a_head_that_was_changed_or_is_signed_by_somebody_else_is_not_believed(
    tampered: TamperedLog, tmp_path: Path
) -> None:
    signed = json.loads(tampered.run("head").out)
    for change, words in (
        ({"position": 11, "tree_size": 11}, "is not what test-key signed"),
        ({"key": "somebody"}, "is signed by 'somebody', which is none of the keys at hand"),
    ):
        file = tmp_path / "heads.jsonl"
        file.write_text(json.dumps(signed | change))
        assert words in tampered.first_bad("--head", str(file))[1]


def test_positions_that_are_not_there_are_refused_in_words(tampered: TamperedLog) -> None:
    beyond = tampered.run("verify", "--to", "13")
    crossed = tampered.run("verify", "--from", "5", "--to", "4")
    assert (beyond.code, crossed.code) == (1, 2)
    assert "There is no position 13 yet: the log ends at 12." in beyond.err


# What the log serves beside its own positions: by customer, and not by log and position.
_STRAY = """
INSERT INTO log.events
SELECT {}, workspace_id, workspace_sequence + 100, stream_id, stream_version + {},
       gen_random_uuid(), command_id, 'CustomerErased', 1, NULL, '{{}}', metadata, recorded_at,
       digest, chain
  FROM log.events WHERE position = 3
"""


@pytest.mark.parametrize(
    ("stray", "position", "words"),
    [
        (
            _STRAY.format("log_id + 1, 1", 2),
            EVENTS,
            "the customer of 1 has an event in log 2 too, at 1",
        ),
        (_STRAY.format("log_id, -4", 2), -4, "stands before the beginning of the log"),
        (_STRAY.format("log_id, 0", 2), 0, "stands before the beginning of the log"),
    ],
)
def test_an_event_of_a_customer_that_stands_elsewhere_than_in_the_log_is_found(
    tampered: TamperedLog, stray: str, position: int, words: str
) -> None:
    tampered.owner.execute(stray.encode())
    found, said = tampered.first_bad()
    assert found == position
    assert words in said


def test_an_erasure_in_another_log_accounts_for_no_missing_key(tampered: TamperedLog) -> None:
    tampered.change("log_id = 2 WHERE type = 'CustomerErased'")
    said = tampered.verify("--to", "8")["verified"]["faults"]
    assert "no CustomerErased accounts for that" in " ".join(fault["what"] for fault in said)


def test_an_erased_customer_whose_key_is_back_is_found(tampered: TamperedLog) -> None:
    created, erased = ERASED
    tampered.owner.execute(
        "INSERT INTO keyring.data_keys (data_key_id, workspace_id, stream_id, master_key_id,"
        " wrapped) SELECT data_key_id, workspace_id, stream_id, 'another', ''"
        "   FROM log.events WHERE position = %s",
        [created],
    )
    assert tampered.first_bad() == (erased, "its customer was erased, and has a data key again")


def test_an_erasure_that_the_log_does_not_have_is_found(tampered: TamperedLog) -> None:
    tampered.owner.execute(
        "INSERT INTO log.erasures (log_id, position, workspace_id, stream_id, positions, erased_at,"
        " reservations, receipts)"
        " SELECT 1, position, workspace_id, stream_id, '{}', now(), 0, 0"
        "   FROM log.events WHERE position = 5"
    )
    try:
        said = "is not the CustomerErased that log.erasures has there"
        assert tampered.first_bad() == (5, said)
    finally:
        tampered.owner.execute("TRUNCATE log.erasures")


def test_a_head_that_an_auditor_brings_is_never_excused(
    tampered: TamperedLog, tmp_path: Path
) -> None:
    kept = tmp_path / "heads.jsonl"
    assert tampered.run("head", "--out", str(kept)).code == 0
    tampered.owner.execute("INSERT INTO log.generations VALUES (1, 2, 5, 'restored')")
    tampered.change("metadata = '{ }' WHERE position = 6")
    tampered.rechain()
    assert "generation 2 began behind position 5" in tampered.verify()["verified"]["notes"][0]
    position, words = tampered.first_bad("--head", str(kept))
    assert position == 6
    assert "is of a history that the log left behind position 5" in words


def test_a_head_of_another_log_and_a_file_without_any_are_told_of(
    tampered: TamperedLog, tmp_path: Path
) -> None:
    kept = tmp_path / "heads.jsonl"
    assert tampered.run("head", "--out", str(kept)).code == 0
    tampered.change("log_id = 2")
    tampered.owner.execute("UPDATE log.heads SET log_id = 2")
    said = tampered.run("verify", "--head", str(kept), CUSTOMERS_LOG_ID="2")
    assert (said.code, "is of log 1" in said.out) == (1, True)
    kept.write_text("\n")
    nothing = tampered.run("verify", "--head", str(kept))
    assert (nothing.code, "has no signed head" in nothing.err) == (1, True)
