"""`make faults`: what can be chosen, and what a run is made of."""

import io
from contextlib import nullcontext

import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.faults.__main__ import _again, _causes, _chosen, _rounds, faults
from tests.faults.catalogue import FAULTS
from tests.faults.faults import Fault
from tests.faults.history import Violation, longest_gap
from tests.faults.run import Outcome
from tests.faults.showing import show_violations


def a_fault(name: str, *, is_alone: bool = False) -> Fault:
    """One that hurts nobody."""
    return Fault(name=name, about=name, inject=lambda _: nullcontext(), is_alone=is_alone)


def test_the_list_names_every_fault_with_what_it_does() -> None:
    said = CliRunner().invoke(faults, ["--list"])

    assert said.exit_code == 0
    assert [line.split()[0] for line in said.stdout.splitlines()] == list(FAULTS)


def test_a_name_that_no_fault_has_is_a_wrong_use() -> None:
    said = CliRunner().invoke(faults, ["--only", "kill-api,kill-nobody"])

    assert said.exit_code == 2
    assert "kill-nobody" in said.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--round 0 --minutes 1", "--round"),
        ("--longest 0", "--longest"),
        ("--minutes 1 --only poison-customers,restored-postgres", "--minutes"),
    ],
)
def test_what_would_run_nothing_is_a_wrong_use(words: str, named: str) -> None:
    said = CliRunner().invoke(faults, words.split())

    assert said.exit_code == 2
    assert named in said.stderr


def test_the_cause_is_told_and_not_how_many_tasks_it_passed() -> None:
    error = ExceptionGroup("tasks", [ExceptionGroup("tasks", [ValueError("a")]), KeyError("b")])

    assert _causes(error) == ["ValueError: a", "KeyError: 'b'"]


def test_one_violation_of_each_check_is_shown_before_more_of_the_same() -> None:
    found = [Violation(check="order", words="again") for _ in range(9)]
    found.append(Violation(check="commands", words="customers verify ended with 1"))
    console = Console(file=io.StringIO(), record=True)

    show_violations(Outcome(seed=7, violations=found, excerpts=[[]] * 10), console)

    said = console.export_text()
    assert said.index("customers verify") < said.index("again", said.index("again") + 1)
    assert "and more: {'order': 2}" in said


def test_a_beginning_means_all_that_begin_so() -> None:
    names = [fault.name for fault in _chosen("kill-api,restart-relay")]

    assert names == ["kill-api", "restart-relay-1", "restart-relay-2"]


def test_each_comes_once_and_who_is_alone_has_a_round_of_its_own() -> None:
    alone = a_fault("alone", is_alone=True)
    rounds = _rounds(7, [a_fault("a"), alone, a_fault("b")], 0.0, 3.0, 30.0, 3)

    assert [(one.seed, [fault.name for fault in one.faults]) for one in rounds] == [
        (7, ["a", "b"]),
        (8, ["alone"]),
    ]


def test_a_round_that_came_at_random_is_repeated_by_its_seed_and_the_same_words() -> None:
    _, second = _rounds(7, [a_fault("a"), a_fault("b")], 5.0, 2.5, 30.0, 3)

    words = _again(second, "a,b")

    assert words == "make faults ARGS='--seed 8 --minutes 2.5 --round 60 --longest 30 --only a,b'"


def test_the_longest_gap_counts_from_when_the_fault_began_to_when_all_was_back() -> None:
    assert longest_gap([0.5, 1.0, 4.0, 9.0], 2.0, 5.0) == 2.0
    assert longest_gap([], 2.0, 5.0) == 3.0
    assert longest_gap([2.5, 3.0, 3.5, 4.0, 4.5], 2.0, 5.0) == 0.5
