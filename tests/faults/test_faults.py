"""Which faults may be there at the same time."""

import pytest

from tests.faults.catalogue import FAULTS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("full-disk-wal", "kill-postgres"),
        ("full-disk-wal", "restart-nats"),
        ("old-jetstream", "pause-nats"),
        ("old-jetstream", "full-disk-jetstream"),
        ("pooler", "cut-api-postgres"),
    ],
)
def test_who_needs_a_server_for_itself_gets_it(one: str, other: str) -> None:
    assert not FAULTS[one].goes_with(FAULTS[other])
    assert not FAULTS[other].goes_with(FAULTS[one])


@pytest.mark.parametrize(
    ("one", "other"),
    [("old-jetstream", "kill-api"), ("kill-postgres", "kill-nats"), ("pooler", "kill-nats")],
)
def test_others_come_together(one: str, other: str) -> None:
    assert FAULTS[one].goes_with(FAULTS[other])
    assert FAULTS[other].goes_with(FAULTS[one])
