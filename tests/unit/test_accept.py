"""Accept: when a failure is called `application/problem+json`."""

from typing import Any, cast

import pytest

from runtime.web.accept import JSON, PROBLEM_JSON, media_type_of_failure


def media_type(accept: str) -> str:
    return media_type_of_failure(cast(Any, {"headers": [(b"accept", accept.encode("latin-1"))]}))


@pytest.mark.parametrize(
    "accept",
    [
        "application/problem+json",
        "Application/Problem+JSON",
        "application/problem+json;q=0.001",
        "application/json, application/problem+json",
        "application/problem+json, */*",
        "application/problem+json;q=0.9, application/json;q=0.8, */*",
        "text/html, application/problem+json; charset=utf-8; q=0.2, application/*;q=0.1",
        "application/problem+json;q=0.2, application/json;q=0",
    ],
)
def test_a_problem_is_asked_for_by_its_name(accept: str) -> None:
    assert media_type(accept) == PROBLEM_JSON


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/*",
        "application/json",
        "text/html",
        "application/problem+json;q=0",
        "application/problem+json;q=0.0, */*",
        "application/problem+json;q=0.5, application/json",
        "application/problem+json;q=0.5, */*",
        "application/problem+json;q=0.5, application/*;q=0.6, */*;q=0.1",
        "application/problem+jsonx",
        "problem+json",
        ",;q=,é;q=1",
    ],
)
def test_everybody_else_gets_json(accept: str) -> None:
    assert media_type(accept) == JSON


@pytest.mark.timeout(10)
@pytest.mark.parametrize("piece", ["q", "q ", ";q", "; q =", "a/b", "/", " ", ",", ';q="'])
def test_a_header_of_nothing_but_traps_costs_no_more_than_its_length(piece: str) -> None:
    assert media_type("a/b;" + piece * 20_000) == JSON
