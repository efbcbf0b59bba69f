"""How far the stream is, when several relays say something of it, or the last one is gone."""

import msgspec
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from runtime.ids import new_id
from runtime.progress import read_progress
from runtime.settings import Settings
from tests.support.builders import JANE, Writer, created
from tests.support.writing import write

AN_HOUR_AGO = "UPDATE control.processes SET beat_at = clock_timestamp() - interval '1 hour'"


@pytest.fixture(autouse=True)
def two_events(settings: Settings, writer: Writer) -> None:
    """Two events are in the log."""
    for _ in range(2):
        write(settings, writer.group(writer.event(writer.a_customer(), 1, created(JANE))))


def beat(owner: Connection[TupleRow], condition: str, sequence: int) -> None:
    """What a relay of its own says of itself now."""
    state = msgspec.json.encode({"condition": condition, "sequence": sequence}).decode()
    owner.execute("SELECT control.beat(%s, 'relay', 1, 'here', %s::jsonb)", [new_id(), state])


@pytest.mark.parametrize("condition", ["publishing", "damaged", "not signing", "erasures wait"])
def test_a_relay_that_stands_by_is_not_asked_how_far_the_stream_is(
    owner: Connection[TupleRow], settings: Settings, condition: str
) -> None:
    beat(owner, condition, 2)
    beat(owner, "erasures wait" if condition == "erasures wait" else "standing by", 0)
    found = read_progress(owner, settings.log_id)
    assert (found.sequence, found.stream_lag, found.stream_lag_seconds) == (2, 0, 0.0)


def test_a_relay_that_is_gone_is_asked_when_there_is_no_other(
    owner: Connection[TupleRow], settings: Settings
) -> None:
    beat(owner, "publishing", 1)
    owner.execute(AN_HOUR_AGO)
    found = read_progress(owner, settings.log_id)
    assert (found.sequence, found.stream_lag) == (1, 1)
    assert found.stream_lag_seconds > 0


def test_who_publishes_now_is_asked_and_not_who_did_before(
    owner: Connection[TupleRow], settings: Settings
) -> None:
    beat(owner, "publishing", 2)
    owner.execute(AN_HOUR_AGO)
    beat(owner, "publishing", 1)
    assert read_progress(owner, settings.log_id).sequence == 1
