"""The status that follows from what the servers tell."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from runtime.cli.tables import watched_view
from runtime.cli.watching import rates_of
from runtime.facts import DatabaseFacts, NatsFacts, Positions, Unknown
from runtime.ids import new_id
from runtime.lifecycle import Process
from runtime.progress import Progress
from runtime.settings import Settings
from runtime.status import Facts, Status, describe


def a_process(kind: str, *, alive: bool = True, **state: object) -> Process:
    now = datetime.now(UTC)
    return Process(new_id(), kind, 4711, "here", state, now, now, alive)


EVERYBODY = [a_process("api"), a_process("relay"), a_process("projector")]


def a_database(
    head: int = 7,
    checkpoint: int | None = 7,
    processes: list[Process] | None = None,
    *,
    parked: int = 0,
) -> DatabaseFacts:
    return DatabaseFacts(
        version="18.6",
        version_number=180_006,
        has_trigrams=True,
        clock_skew_seconds=0.0,
        applied=["runtime/0001"],
        pending=[],
        positions=Positions(
            progress=Progress(
                generation=1,
                head=head,
                checkpoint=checkpoint,
                projection_lag_seconds=0.0,
                sequence=None,
                stream_lag_seconds=0.0,
                parked=parked,
                receipts=0,
            ),
            processes=EVERYBODY if processes is None else processes,
        ),
    )


def status_of(
    database: DatabaseFacts | Unknown, *, sequence: int | None = 7, head: int = 7
) -> Status:
    broker = NatsFacts(
        version="2.15.1", has_jetstream=True, last_sequence=sequence, max_payload=1024 * 1024
    )
    return describe(Settings(), None, Facts(database=database, nats=broker), head)


def test_when_everybody_reached_the_head_all_is_well() -> None:
    status = status_of(a_database())

    assert status.problems == []
    assert (status.log_head, status.stream_sequence, status.checkpoint) == (7, 7, 7)
    assert status.lag_events == 0
    assert status.pids == {
        "api": 4711,
        "relay": 4711,
        "projector": 4711,
        "postgres": None,
        "nats": None,
    }


def test_a_new_service_without_any_event_is_well() -> None:
    status = status_of(a_database(head=0, checkpoint=None), sequence=None, head=0)

    assert status.problems == []
    assert status.lag_events == 0


def test_who_is_still_at_work_on_newer_events_is_well() -> None:
    status = status_of(a_database(head=9, checkpoint=8), sequence=7, head=7)

    assert status.problems == []
    assert status.lag_events == 1


def test_customers_that_are_parked_are_a_problem() -> None:
    [problem] = status_of(a_database(parked=3)).problems
    assert "3 customers are parked" in problem
    assert "customers projections failures" in problem


def test_who_watches_sees_what_is_wrong_also_on_a_small_screen() -> None:
    found = status_of(a_database(parked=3))
    screen = Console(width=80, file=io.StringIO())
    lines = screen.render_lines(watched_view(found, rates_of(found, found, 2.0)))
    said = ["".join(segment.text for segment in line).rstrip() for line in lines]
    # A process takes one line, and the problem does not stand below the tables.
    assert len(said) < 24
    assert ["3 customers are parked" in line for line in said[:4]].count(True) == 1


@pytest.mark.parametrize(("checkpoint", "behind"), [(3, "4 events"), (None, "7 events")])
def test_a_read_model_that_stands_still_is_a_problem(checkpoint: int | None, behind: str) -> None:
    (problem,) = status_of(a_database(checkpoint=checkpoint)).problems

    assert problem == f"The read model is {behind} behind the log."


def test_a_stream_that_stands_still_is_a_problem() -> None:
    (problem,) = status_of(a_database(), sequence=5).problems

    assert problem == "The JetStream stream is 2 events behind the log."


def test_a_process_that_fell_silent_counts_as_not_running() -> None:
    processes = [a_process("api"), a_process("relay", alive=False), a_process("projector")]

    status = status_of(a_database(processes=processes))

    assert status.problems == ["No relay is running: start one with `customers relay`."]
    assert [process.kind for process in status.processes] == ["api", "projector"]


@pytest.mark.parametrize("condition", ["stopped", "damaged"])
def test_a_relay_in_trouble_says_why(condition: str) -> None:
    relay = a_process("relay", condition=condition, words="the stream holds other events.")
    processes = [a_process("api"), relay, a_process("projector", condition="live", words="")]

    status = status_of(a_database(processes=processes))

    said = f"The relay (process 4711): {condition}, the stream holds other events."
    assert status.problems == [said]


def test_a_broker_that_takes_less_than_the_api_believes_is_a_problem() -> None:
    broker = NatsFacts(
        version="2.15.1", has_jetstream=True, last_sequence=7, max_payload=1024 * 1024
    )
    facts = Facts(database=a_database(), nats=broker)

    assert describe(Settings(nats_max_payload=1024 * 1024), None, facts, 7).problems == []
    (problem,) = describe(Settings(nats_max_payload=1024 * 1024 + 1), None, facts, 7).problems
    assert problem.startswith("NATS takes messages of 1048576 bytes, and CUSTOMERS_NATS_MAX_PAY")


def test_a_database_that_cannot_be_asked_leaves_the_rest_unknown() -> None:
    status = status_of(Unknown("connection refused"))

    assert status.problems == ["Postgres cannot be asked: connection refused."]
    assert (status.log_head, status.checkpoint, status.lag_events) == (None, None, None)
    assert status.versions.nats == "2.15.1"


def test_how_fast_positions_move_follows_from_two_looks() -> None:
    before, now = status_of(a_database(head=7, checkpoint=None)), status_of(a_database(head=17))
    rates = rates_of(before, now, 2.0)
    assert (rates.log, rates.stream, rates.read_model) == (5.0, 0.0, None)
